"""`darkroom down`: for a stack that was started in another terminal, or in the background."""

import os
import signal
import threading
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from darkroom.cli.connect import find_stack
from darkroom.cli.errors import UserError
from darkroom.cli.stack.process import runs

_TIMEOUT_S = 60.0
_PAUSE_S = 0.1


def down(
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to stop.")] = None,
) -> None:
    """Stops a stack that `darkroom up` started elsewhere, and waits until it is gone."""
    stack = find_stack(ready_file)
    if stack.up_pid is None:
        raise UserError(f"the stack found by {stack.found_by} was not started by `darkroom up`")
    os.kill(stack.up_pid, signal.SIGTERM)
    until = monotonic() + _TIMEOUT_S
    pause = threading.Event()
    while runs(stack.up_pid):
        if monotonic() > until:
            raise UserError(f"it (pid {stack.up_pid}) did not stop within {_TIMEOUT_S:g} s")
        pause.wait(_PAUSE_S)
    typer.echo("stopped")
