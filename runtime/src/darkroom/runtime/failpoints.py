"""Places where a fault test can end the process: DARKROOM_FAILPOINT=<name>, or <name>:<n> for the n-th time; with
`stop@` in front it is only stopped there (SIGSTOP), until the test lets it go on."""

import os
import signal
from itertools import count

_how, _, _where = os.environ.get("DARKROOM_FAILPOINT", "").rpartition("@")
_wanted, _, _nth = _where.partition(":")
_signal = {"": signal.SIGKILL, "stop": signal.SIGSTOP}[_how]
_times = count(1)


def reach(name: str) -> None:
    """Kills or stops this process (nothing is cleaned up) if the environment asks for it here and now."""
    if _wanted == name and next(_times) == int(_nth or 1):
        os.kill(os.getpid(), _signal)
