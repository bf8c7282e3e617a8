"""What lets requests wait: one watcher of checkpoints per process, and a bound on how many requests may wait.

The watcher only ever hints. A waiter takes `seen` first, then reads the database, then waits for `seen` to change:
so nothing is missed, and a hint that never comes costs at most `RECHECK_S`.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Protocol

from darkroom.schemas.errors import StoreUnavailable, Unavailable

_log = logging.getLogger("darkroom.live")

RECHECK_S = 1.0
_IDLE_S = 0.5
_POLL_S = 0.1
_POLLS_BEFORE_STREAM_AGAIN = 50
_BACK_OFF_S = 1.0


class TooManyWaiting(Unavailable):
    """As many requests wait or stream as this process holds; the client should come back."""


class Checkpoints(Protocol):
    """What the watcher needs of the store."""

    def checkpoints_now(self) -> dict[str, int]: ...

    def moved_checkpoints(self, idle_s: float) -> AbstractContextManager[Iterator[tuple[str, int] | None]]: ...


class Watcher:
    """Follows the checkpoints by change stream; where that fails, by asking ten times a second for a while.

    It stops, and all waiting with it, once `stopping` is set; the server's signal handler may do that.
    """

    def __init__(self, checkpoints: Checkpoints, stopping: threading.Event) -> None:
        self._checkpoints = checkpoints
        self._positions: dict[str, int] = {}
        self._moved = threading.Condition()
        self._stopping = stopping
        self._thread = threading.Thread(target=self._run, name="checkpoint-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends every wait and stream."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def seen(self, checkpoint_ids: Iterable[str]) -> tuple[int, ...]:
        """What the watcher knows of these checkpoints: the offset of the next event of each, -1 for unknown."""
        with self._moved:
            return tuple(self._positions.get(c, -1) for c in checkpoint_ids)

    def wait_change(self, checkpoint_ids: Sequence[str], since: tuple[int, ...], timeout_s: float) -> bool:
        """Returns once `seen` is no longer `since`, or after `timeout_s`, or when the service stops. True if it
        changed."""
        with self._moved:
            self._moved.wait_for(
                lambda: self.stopping or tuple(self._positions.get(c, -1) for c in checkpoint_ids) != since,
                max(0.0, timeout_s),
            )
            return tuple(self._positions.get(c, -1) for c in checkpoint_ids) != since

    def _run(self) -> None:
        while not self.stopping:
            try:
                self._follow()
            except StoreUnavailable as error:
                _log.warning("no change stream, asking instead: %s", error)
                self._poll()
            except Exception:
                _log.exception("the watcher of checkpoints failed; it starts again")
                self._stopping.wait(_BACK_OFF_S)
        with self._moved:
            self._moved.notify_all()

    def _follow(self) -> None:
        with self._checkpoints.moved_checkpoints(_IDLE_S) as changes:
            self._learn(self._checkpoints.checkpoints_now())  # after the stream was opened: nothing falls between
            for change in changes:
                if self.stopping:
                    return
                if change is not None:
                    self._learn({change[0]: change[1]})

    def _poll(self) -> None:
        for _ in range(_POLLS_BEFORE_STREAM_AGAIN):
            if self.stopping:
                return
            try:
                self._learn(self._checkpoints.checkpoints_now())
                self._stopping.wait(_POLL_S)
            except StoreUnavailable:
                self._stopping.wait(_BACK_OFF_S)
                return

    def _learn(self, positions: dict[str, int]) -> None:
        with self._moved:
            if any(self._positions.get(c) != n for c, n in positions.items()):
                self._positions.update(positions)
                self._moved.notify_all()


class Waiting:
    """How many requests may wait or stream at once, so that threads are left for those that do neither."""

    def __init__(self, waits_max: int, streams_max: int) -> None:
        self._waits = threading.BoundedSemaphore(waits_max)
        self._streams = threading.BoundedSemaphore(streams_max)

    def a_wait(self) -> AbstractContextManager[None]:
        """Raises TooManyWaiting."""
        return self._held(self._waits, "wait for the read model")

    @contextmanager
    def _held(self, slots: threading.BoundedSemaphore, what: str) -> Iterator[None]:
        release = self._take(slots, what)
        try:
            yield
        finally:
            release()

    def a_stream(self) -> Callable[[], None]:
        """Takes a place for a stream, to be given back by calling the result. Raises TooManyWaiting."""
        return self._take(self._streams, "stream")

    def _take(self, slots: threading.BoundedSemaphore, what: str) -> Callable[[], None]:
        if not slots.acquire(blocking=False):
            raise TooManyWaiting(f"As many requests {what} as this service holds at once; try again soon.")
        return slots.release


def seconds_left(deadline: float) -> float:
    """Until `deadline` on the monotonic clock; never negative."""
    return max(0.0, deadline - monotonic())
