"""Waiting until started parts answer."""

import threading
from collections.abc import Callable
from time import monotonic

from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.process import Child

_PAUSE_S = 0.05


def wait_ready(child: Child, probe: Callable[[], bool], timeout_s: float) -> None:
    """Returns when `probe` says yes. Raises StackError, with the last lines of the log, when the child has ended
    or `timeout_s` has passed."""
    until = monotonic() + timeout_s
    pause = threading.Event()
    while not probe():
        if (code := child.exit_code()) is not None:
            raise StackError(failure(child, f"ended with {code} before it was ready"))
        if monotonic() > until:
            raise StackError(failure(child, f"was not ready within {timeout_s:g} s"))
        pause.wait(_PAUSE_S)


def failure(child: Child, what: str) -> str:
    """A message with the end of the child's log."""
    return "\n".join([f"{child.name} {what}; the end of {child.log}:", *(f"  {x}" for x in child.last_lines())])
