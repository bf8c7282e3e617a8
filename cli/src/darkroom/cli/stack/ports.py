"""Ports on the loopback interface."""

import random
import socket

from darkroom.cli.stack.errors import StackError

HOST = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections, so that none of those can take a
# port between our choosing it and the part's binding it.
_LOWEST, _HIGHEST = 15_000, 32_000
_TRIES = 200

_given: set[int] = set()
"""Ports handed out by this process: one that is not bound yet must not be handed out twice."""


def free_port() -> int:
    """A port that nobody listens on. Raises StackError if none is found."""
    for _ in range(_TRIES):
        port = random.SystemRandom().randrange(_LOWEST, _HIGHEST)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise StackError(f"no free port between {_LOWEST} and {_HIGHEST} in {_TRIES} tries")


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still winding down counts as free, one with a
        # listener does not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
