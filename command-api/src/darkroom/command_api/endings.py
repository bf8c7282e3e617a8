"""Waiting for the end of a run, on the own tail: what `Prefer: wait=N` of a command asks for."""

import threading
from collections.abc import Callable, Sequence
from time import monotonic

from darkroom.runtime.heads import Folded
from darkroom.schemas.job import ACTIVE, Head

_RECHECK_S = 0.5
"""A wait notices a stopping service, and a hint that was missed, after so long."""


class Endings:
    """Wakes those who wait for a job's run to end. `heard` is for the tail, which calls it after each commit."""

    def __init__(self, waits_max: int, stopping: threading.Event) -> None:
        """`waits_max`: how many requests may wait at once; a further one does not wait."""
        self._places = threading.BoundedSemaphore(waits_max)
        self._stopping = stopping
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = {}

    def heard(self, folded: Sequence[Folded]) -> None:
        """Wakes those whose jobs no longer run."""
        if not self._waiting:
            return
        with self._lock:
            for event in folded:
                if event.head.status not in ACTIVE:
                    for waiting in self._waiting.get(event.guard.key, ()):
                        waiting.set()

    def wait(self, job_id: str, run: int, head: Callable[[str], Head | None], timeout_s: float) -> Head | None:
        """The job's head once its run number `run` has ended, or None if it has not in time, if too many wait
        already, or if the service stops. `head` reads what the tail has folded."""
        if not self._places.acquire(blocking=False):
            return None
        ended = threading.Event()
        with self._lock:  # before the first look: nothing falls between
            self._waiting.setdefault(job_id, set()).add(ended)
        try:
            return self._wait(ended, lambda: _ended(head(job_id), run), monotonic() + timeout_s)
        finally:
            with self._lock:
                self._waiting[job_id].discard(ended)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]
            self._places.release()

    def _wait(self, ended: threading.Event, look: Callable[[], Head | None], until: float) -> Head | None:
        while True:
            ended.clear()
            found = look()
            left_s = until - monotonic()
            if found is not None or left_s <= 0 or self._stopping.is_set():
                return found
            ended.wait(min(left_s, _RECHECK_S))


def _ended(head: Head | None, run: int) -> Head | None:
    # A later run that goes on already hides the result of this one: there is nothing to be sent to yet.
    over = head is not None and head.run >= run and head.status not in ACTIVE
    return head if over else None
