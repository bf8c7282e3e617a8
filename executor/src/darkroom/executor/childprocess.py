"""The parent's handle on one child process: a run at a time, to one of the outcomes."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.executor import frames
from darkroom.executor.outcomes import (
    Crashed,
    DeadlineExceeded,
    ModelRefused,
    Outcome,
    RunRequest,
    Stopped,
    Succeeded,
)
from darkroom.executor.preprocess import PIXELS_MAX
from darkroom.executor.spawned import Spawned
from darkroom.schemas.job import Problem


class ChildProcess:
    """One child, started when first needed, and again after it ended. One run at a time; any thread may stop it."""

    def __init__(self, command: Sequence[str], scratch_folder: Path, start_timeout_s: float = 60.0) -> None:
        self._command = command
        self._scratch_folder = scratch_folder
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()  # guards what follows
        self._child: Spawned | None = None
        self._key: str | None = None
        self._stopped = False
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        with self._lock:
            return self._child.pid if self._child else None

    def reserve(self, key: str) -> None:
        """Name the run that comes next: ``stop`` meets it from now on. Raises RuntimeError if one is there."""
        with self._lock:
            if self._key is not None:
                raise RuntimeError(f"run {key} given to a child that is busy with {self._key}")
            self._key, self._stopped = key, False

    def give_back(self, key: str) -> None:
        """Undo ``reserve`` for a run that was not begun after all."""
        with self._lock:
            if self._key == key:
                self._key = None

    def run(self, request: RunRequest, deadline_s: float) -> Outcome:
        """Run it to one of the outcomes. The deadline counts from when the child is ready (an import of TensorFlow
        is nobody's run); loading the model is part of the run. Whatever happens, no child is left behind busy."""
        if self._key != request.key:
            self.reserve(request.key)
        child: Spawned | None = None
        try:
            child = self._ready_child()
            return self._ask(child, request, frames.Deadline(deadline_s))
        except _Failed as failed:
            return self._stopped_or(Crashed(failed.detail, failed.exit_signal))
        except TimeoutError:
            assert child is not None, "a slow start is a _Failed"
            self._discard(child, kill=True)
            return self._stopped_or(DeadlineExceeded(deadline_s))
        finally:
            with self._lock:
                self._key = None
                dropped = child is not None and child is not self._child
            if child and dropped:
                child.reap()

    def start(self) -> None:
        """Start the child before it is needed. Raises RuntimeError when it does not come up."""
        self.reserve("(start)")
        try:
            self._ready_child()
        except _Failed as failed:
            raise RuntimeError(failed.detail) from failed
        finally:
            with self._lock:
                self._key = None

    def stop(self, key: str) -> bool:
        """Kill the child if it is at the run ``key``; False if it is not."""
        with self._lock:
            if self._key != key:
                return False
            self._stopped = True
            self._drop()
            return True

    def close(self) -> None:
        """Stop whatever runs, end the child and wait for its end; later runs are Stopped."""
        with self._lock:
            self._closed = self._stopped = True
            child = self._child
            self._drop()
        if child:
            child.reap()

    def _drop(self) -> None:
        """Kill the child, and forget it: the next run gets another. The lock is held."""
        if self._child:
            self._child.kill()
            self._child = None

    def _stopped_or(self, outcome: Outcome) -> Outcome:
        with self._lock:
            return Stopped() if self._stopped or self._closed else outcome

    def _ready_child(self) -> Spawned:
        with self._lock:
            if self._stopped or self._closed:
                raise _Failed("stopped before it began", None)
            if self._child and self._child.alive:
                return self._child
            old = self._child
            self._child = None
        if old:
            old.reap()  # it died between two runs: no run's fault
        try:
            child = Spawned(self._command, self._scratch_folder)
        except OSError as error:
            raise _Failed(f"The child process cannot be started: {error}", None) from error
        with self._lock:
            if self._stopped or self._closed:
                child.kill()
            else:
                self._child = child
        try:
            hello = self._receive(child, frames.Deadline(self._start_timeout_s))
        except TimeoutError as error:
            self._discard(child, kill=True)
            raise _Failed(f"The child process was not ready after {self._start_timeout_s:g} s.", None) from error
        if "ready" not in hello:
            raise self._failed(child, "The child process spoke out of turn.", kill=True)
        return child

    def _ask(self, child: Spawned, request: RunRequest, deadline: frames.Deadline) -> Outcome:
        message = {
            "model": dict(request.model),
            "artifact_path": os.path.abspath(request.artifact_path),
            "labels_path": os.path.abspath(request.labels_path),
            "parameters": dict(request.parameters),
            "digests": [picture.digest for picture in request.pictures],
        }
        try:
            frames.send(child.socket, message, [picture.data for picture in request.pictures], deadline)
        except frames.Closed:
            raise self._failed(child, "The child process ended.", kill=False) from None
        answer = self._receive(child, deadline)
        try:
            if "refused" in answer:
                return ModelRefused(Problem(**answer["refused"]))
            return Succeeded(tuple(answer["results"]), answer["timing"], answer["provenance"])
        except (KeyError, TypeError):
            raise self._failed(child, "The child process gave an answer that is none.", kill=True) from None

    def _receive(self, child: Spawned, deadline: frames.Deadline) -> dict[str, Any]:
        try:
            return frames.receive(child.socket, deadline)[0]
        except frames.Closed:
            raise self._failed(child, "The child process ended.", kill=False) from None
        except frames.FrameError as error:
            raise self._failed(child, f"The child process spoke nonsense: {error}.", kill=True) from None

    def _failed(self, child: Spawned, what: str, kill: bool) -> "_Failed":
        code = self._discard(child, kill)
        how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        words = child.last_words()
        detail = f"{what} It ended {how}." + (f" Its last words: {words}" if words else "")
        return _Failed(detail, -code if code < 0 else None)

    def _discard(self, child: Spawned, kill: bool) -> int:
        with self._lock:
            if self._child is child:
                self._child = None
        if kill:
            child.kill()
        return child.reap()


def child_command(runtime: str, threads: int = 1, pixels_max: int = PIXELS_MAX) -> list[str]:
    """The command line of a child for a runtime (-P: the folder it starts in is no place to import from)."""
    module = [sys.executable, "-P", "-m", "darkroom.executor.child", runtime]
    return [*module, "--threads", str(threads), "--pixels-max", str(pixels_max)]


class _Failed(Exception):
    def __init__(self, detail: str, exit_signal: int | None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.exit_signal = exit_signal
