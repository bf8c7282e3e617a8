"""Child processes that never outlive this one, nor does what they start; each with a log file.

Two means: the kernel kills a child when its parent dies (Linux), and a guard process kills the children's process
groups. The kernel's signal comes when the *thread* that started a child ends, so children are started from the main
thread only.
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from darkroom.cli.stack import guard, launch

_TAIL_SIZE_BYTES_MAX = 16_384
_GUARD_END_TIMEOUT_S = 10


class Child:
    """A running child process. `name` is for messages, `log` holds its stdout and stderr."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        """Starts it, with `env` added to this process's environment. Raises OSError."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{name}: children are started from the main thread, or they die with the thread")
        self.name = name
        self.log = log
        tell = _guard()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *argv],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Of its own: a Ctrl-C at the terminal reaches the supervisor alone, which stops all in order;
                # and the group can be killed with what the child itself started.
                start_new_session=True,
            )
        self._tell_guard = tell
        tell(f"+{self.pid}\n")

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Asks it to end; also a stopped one, which would not hear it."""
        if self.exit_code() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
                self._process.send_signal(signal.SIGCONT)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None if it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Ends it and its process group at once."""
        # The group also when the leader is gone already: it may have left workers behind.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._tell_guard(f"-{self.pid}\n")  # the number may now become another's

    def stop(self, timeout_s: float) -> bool:
        """Asks it to end and kills it after `timeout_s`. True if it ended by itself."""
        self.terminate()
        ended = self.wait(timeout_s) is not None
        self.kill()
        return ended

    def last_lines(self, count: int = 15) -> list[str]:
        return last_lines(self.log, count)


@cache
def _guard() -> Callable[[str], None]:
    """Starts this process's guard; the result tells it a line."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, start_new_session=True, text=True
    )
    assert process.stdin is not None
    pipe = process.stdin

    def tell(line: str) -> None:
        with suppress(BrokenPipeError):  # someone killed the guard: the kernel's signal remains
            pipe.write(line)
            pipe.flush()

    def end() -> None:
        with suppress(BrokenPipeError):
            pipe.close()
        process.wait(_GUARD_END_TIMEOUT_S)

    atexit.register(end)
    return tell


def runs(pid: int) -> bool:
    """Is there such a process? One that has ended and that nobody has waited for yet does not count."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    except PermissionError:
        return True  # another user's
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # it has just ended, or this platform has no /proc
        return sys.platform != "linux"


def last_lines(log: Path, count: int) -> list[str]:
    """The end of a log file, for messages."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_SIZE_BYTES_MAX))
            return stream.read().decode("utf-8", "replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
