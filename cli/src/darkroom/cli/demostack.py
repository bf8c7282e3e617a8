"""The stack of the demonstration: a `darkroom up` of its own, on free ports, gone afterwards; and its live tail."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from rich.console import Console

from darkroom.cli.connect import Stack, find_stack
from darkroom.cli.errors import UserError
from darkroom.cli.stack.process import Child
from darkroom.cli.tail import painted
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.simulator import tail as log_tail
from darkroom.simulator.tail import Line, Wanted

START_TIMEOUT_S = 240.0
"""Long, for the very first start fetches Kafka."""
STOP_TIMEOUT_S = 40.0
COMMAND_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 0.05
_DARKROOM = (sys.executable, "-m", "darkroom.cli")


@contextmanager
def running_stack(console: Console, folder: Path) -> Iterator[tuple[Stack, Path]]:
    """A stack and its ready file, while the block lasts. Shows the lines that `darkroom up` prints. Raises
    UserError if it does not come up."""
    ready_file, log = folder / "ready.json", folder / "up.log"
    argv = (*_DARKROOM, "up", "--ports", "auto", "--data", str(folder / "data"), "--ready-file", str(ready_file))
    # The user's own `darkroom up` stays the one that other commands find.
    child = Child("darkroom up", argv, log, {"XDG_STATE_HOME": str(folder / "state")})
    try:
        shown, until = 0, monotonic() + START_TIMEOUT_S
        while not ready_file.exists():
            shown = _show(console, log, shown)
            if child.exit_code() is not None or monotonic() > until:
                _show(console, log, shown)
                how = "did not come up in time" if child.exit_code() is None else f"ended ({child.exit_code()})"
                raise UserError(f"the stack {how}; `darkroom doctor` checks each part")
            threading.Event().wait(_LOOK_EVERY_S)
        _show(console, log, shown)
        yield find_stack(ready_file), ready_file
    finally:
        for interrupting in (signal.SIGINT, signal.SIGTERM):
            signal.signal(interrupting, signal.SIG_IGN)  # only the stopping is left, and it has a deadline
        if not child.stop(STOP_TIMEOUT_S):
            console.print("[red]the stack did not stop in time and was killed[/red]")


def _show(console: Console, log: Path, shown: int) -> int:
    """Prints the whole lines of a log from byte `shown` on; gives where they end."""
    with log.open("rb") as file:
        file.seek(shown)
        whole, newline, _ = file.read().rpartition(b"\n")
    for line in whole.decode(errors="replace").splitlines():
        console.print(f"  {line}", markup=False, soft_wrap=True)
    return shown + len(whole) + len(newline)


def run_command(console: Console, ready_file: Path, *arguments: str) -> int:
    """Runs another `darkroom` command against the stack and shows what it says; its exit code."""
    console.print(f"[dim]$ darkroom {' '.join(arguments)}[/dim]")
    log = ready_file.with_name(f"{'-'.join(arguments)}.log")
    child = Child(arguments[0], (*_DARKROOM, *arguments), log, {"DARKROOM_READY_FILE": str(ready_file)})
    try:
        shown, until = 0, monotonic() + COMMAND_TIMEOUT_S
        while child.wait(_LOOK_EVERY_S) is None and monotonic() < until:
            shown = _show(console, log, shown)
        _show(console, log, shown)
        code = child.exit_code()
        if code is None:
            console.print(f"[red]not done after {COMMAND_TIMEOUT_S:g} s[/red]")
        return 124 if code is None else code
    finally:
        child.kill()


class LiveTail:
    """Prints the log's lines as they come, from a thread of its own, and remembers when what was first seen."""

    def __init__(self, console: Console, stack: Stack) -> None:
        self._console = console
        self._log = KafkaLog(stack.kafka, stack.topics["jobs"])
        self._stopping = threading.Event()
        self._seen = threading.Condition()
        self._lines: list[Line] = []
        self.first_result_at: float | None = None
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="live-tail", daemon=True)

    def __enter__(self) -> "LiveTail":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10.0)
        self._log.close(5.0)

    def wait_for(self, job_id: str, statuses: frozenset[str], timeout_s: float) -> str | None:
        """The job's status once its last event left it in one of these; None if it never comes to that."""
        until = monotonic() + timeout_s
        with self._seen:
            while True:
                status = next((line.status for line in reversed(self._lines) if line.job_id == job_id), None)
                if status in statuses:
                    return status
                left_s = until - monotonic()
                if left_s <= 0 or self.failure is not None:
                    return None
                self._seen.wait(left_s)

    def _run(self) -> None:
        coloured = self._console.is_terminal and not self._console.no_color
        try:
            for line in log_tail.lines(self._log, Wanted(), follow=True, stopping=self._stopping):
                print(painted(line) if coloured else line.text(), flush=True)
                with self._seen:
                    self._lines.append(line)
                    if line.status == "succeeded" and self.first_result_at is None:
                        self.first_result_at = monotonic()
                    self._seen.notify_all()
        except Exception as error:  # told to whoever waits, and to the user at the end
            with self._seen:
                self.failure = error
                self._seen.notify_all()
