"""The parent's handle on one child process: asked one thing at a time, started again whenever it has ended."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from darkroom.runtime.child import frames
from darkroom.runtime.child.spawned import Spawned

T = TypeVar("T")


class Ended(Exception):
    """The child could not be started, ended before it answered, or was killed because its answer was none.
    ``exit_signal`` is the signal that ended it, if one did; ``begun`` tells whether it was ready before."""

    def __init__(self, detail: str, exit_signal: int | None, begun: bool) -> None:
        super().__init__(detail)
        self.detail = detail
        self.exit_signal = exit_signal
        self.begun = begun


class Stopped(Exception):
    """``stop`` or ``close`` ended it."""


class AskedChild:
    """One child, started when first needed, and again after it ended. Asked one thing at a time; any thread may
    stop it.

    The child says ``{"ready": …}`` once it is, and then answers each frame with one.
    """

    def __init__(
        self, command: Sequence[str], scratch_folder: Path | None = None, start_timeout_s: float = 60.0
    ) -> None:
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
        """Name the question that comes next: ``stop`` meets it from now on. Raises RuntimeError if one is there."""
        with self._lock:
            if self._key is not None:
                raise RuntimeError(f"{key} given to a child that is busy with {self._key}")
            self._key, self._stopped = key, False

    def give_back(self, key: str) -> None:
        """Undo ``reserve`` for a question that was not asked after all."""
        with self._lock:
            if self._key == key:
                self._key = None

    def ask(
        self,
        key: str,
        message: dict[str, Any],
        blobs: Sequence[bytes],
        deadline_s: float,
        read: Callable[[dict[str, Any]], T],
    ) -> T:
        """What ``read`` makes of the answer; its KeyError, TypeError or ValueError means that it is none.

        The deadline counts from when the child is ready. Raises TimeoutError, Ended, Stopped; whatever happens, no
        child is left behind busy.
        """
        if self._key != key:
            self.reserve(key)
        child: Spawned | None = None
        try:
            child = self._ready_child()
            return self._exchange(child, message, blobs, frames.Deadline(deadline_s), read)
        except Ended:
            self._raise_if_stopped()
            raise
        except TimeoutError:
            assert child is not None, "a slow start is an Ended"
            self._discard(child, kill=True)
            self._raise_if_stopped()
            raise
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
        except Ended as ended:
            raise RuntimeError(ended.detail) from ended
        finally:
            with self._lock:
                self._key = None

    def stop(self, key: str) -> bool:
        """Kill the child if it is at the question ``key``; False if it is not."""
        with self._lock:
            if self._key != key:
                return False
            self._stopped = True
            self._drop()
            return True

    def close(self) -> None:
        """Stop whatever goes on, end the child and wait for its end; what is asked later is Stopped."""
        with self._lock:
            self._closed = self._stopped = True
            child = self._child
            self._drop()
        if child:
            child.reap()

    def _drop(self) -> None:
        """Kill the child, and forget it: the next question gets another. The lock is held."""
        if self._child:
            self._child.kill()
            self._child = None

    def _raise_if_stopped(self) -> None:
        with self._lock:
            if self._stopped or self._closed:
                raise Stopped from None

    def _ready_child(self) -> Spawned:
        self._raise_if_stopped()
        with self._lock:
            if self._child and self._child.alive:
                return self._child
            old = self._child
            self._child = None
        if old:
            old.reap()  # it died between two questions: the fault of neither
        try:
            child = Spawned(self._command, self._scratch_folder)
        except OSError as error:
            raise Ended(f"The child process cannot be started: {error}", None, begun=False) from error
        with self._lock:
            if self._stopped or self._closed:
                child.kill()
            else:
                self._child = child
        try:
            hello = self._receive(child, frames.Deadline(self._start_timeout_s), begun=False)
        except TimeoutError as error:
            self._discard(child, kill=True)
            detail = f"The child process was not ready after {self._start_timeout_s:g} s."
            raise Ended(detail, None, begun=False) from error
        if "ready" not in hello:
            raise self._ended(child, "The child process spoke out of turn.", kill=True, begun=False)
        return child

    def _exchange(
        self,
        child: Spawned,
        message: dict[str, Any],
        blobs: Sequence[bytes],
        deadline: frames.Deadline,
        read: Callable[[dict[str, Any]], T],
    ) -> T:
        try:
            frames.send(child.socket, message, blobs, deadline)
        except frames.Closed:
            raise self._ended(child, "The child process ended.") from None
        answer = self._receive(child, deadline)
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError):
            raise self._ended(child, "The child process gave an answer that is none.", kill=True) from None

    def _receive(self, child: Spawned, deadline: frames.Deadline, begun: bool = True) -> dict[str, Any]:
        try:
            return frames.receive(child.socket, deadline)[0]
        except frames.Closed:
            raise self._ended(child, "The child process ended.", begun=begun) from None
        except frames.FrameError as error:
            raise self._ended(
                child, f"The child process spoke nonsense: {error}.", kill=True, begun=begun
            ) from None

    def _ended(self, child: Spawned, what: str, *, kill: bool = False, begun: bool = True) -> Ended:
        code = self._discard(child, kill)
        how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        words = child.last_words()
        detail = f"{what} It ended {how}." + (f" Its last words: {words}" if words else "")
        return Ended(detail, -code if code < 0 else None, begun)

    def _discard(self, child: Spawned, kill: bool) -> int:
        with self._lock:
            if self._child is child:
                self._child = None
        if kill:
            child.kill()
        return child.reap()
