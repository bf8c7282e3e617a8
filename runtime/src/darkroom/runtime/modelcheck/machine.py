"""Threads, locks and time under a scheduler's thumb: tasks that run until they would block.

The code under test keeps its threads, locks and deadlines; `simulated()` gives its modules these in their place.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace, TracebackType
from typing import Any
from unittest.mock import patch

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]  # has none

from darkroom.runtime import pending, tail, writer
from darkroom.runtime.modelcheck.pool import pooled
from darkroom.schemas.chain import Guard
from darkroom.schemas.wire import CONTENT_TYPE, Headers, guard_headers

DEADLINE = 1.0
"""Every request's deadline, on its own clock: it stands at 0 until the scheduler lets its time be over."""
_LATE = 2.0


class Task(greenlet):  # type: ignore[misc]  # untyped
    """One thread. It runs until it pauses, waits for something, or ends."""

    def __init__(self, body: Callable[[], Any]) -> None:
        super().__init__(body)
        self.now = 0.0
        self.ready: Callable[[], bool] | None = None
        self.premise: str | None = None

    @property
    def runnable(self) -> bool:
        return self.ready is None or self.now > DEADLINE or self.ready()

    def let_time_pass(self) -> None:
        """Its deadline is over: whatever it waits for with a timeout ends without."""
        self.now = _LATE

    def until(self, ready: Callable[[], bool]) -> None:
        """To be called by the task itself: goes on when `ready`, or when its time is over."""
        if self.now > DEADLINE:
            return
        self.ready = ready
        self.parent.switch()
        self.ready = None


def pause() -> None:
    """Here the scheduler may let others run."""
    current = getcurrent()
    if isinstance(current, Task):
        current.parent.switch()


def premise_of_current() -> str | None:
    """The last event that the current task knew of when it last looked at its job's head."""
    current = getcurrent()
    return current.premise if isinstance(current, Task) else None


def wait(ready: Callable[[], bool]) -> None:
    """The current task goes on when `ready`, or when its time is over."""
    current = getcurrent()
    assert isinstance(current, Task), "only a task may wait"
    current.until(ready)


def _monotonic() -> float:
    current = getcurrent()
    return current.now if isinstance(current, Task) else 0.0


class _Lock:
    def __init__(self) -> None:
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._held and blocking:
            wait(lambda: not self._held)
        if self._held:
            return False
        self._held = True
        return True

    def release(self) -> None:
        assert self._held, "a lock is released that nobody holds"
        self._held = False

    def __enter__(self) -> None:
        if not self.acquire():
            raise AssertionError("a lock that no deadline bounds is held for ever")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Condition(_Lock):
    """Tasks are never interrupted between two waits, so the lock is only looked after."""

    def __init__(self) -> None:
        super().__init__()
        self._notified = 0

    def wait(self, timeout: float | None = None) -> None:
        before = self._notified
        self.release()
        try:
            wait(lambda: self._notified != before)
        finally:  # also where the task is killed meanwhile
            self.acquire()

    def notify_all(self) -> None:
        self._notified += 1


class _Event:
    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


class _Thread:
    started: Task | None = None
    """The last thread that was started: whoever started it takes it from here."""

    def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
        self._target = target

    def start(self) -> None:
        _Thread.started = Task(self._target)


def take_started() -> Task:
    """The task of the thread that was just started."""
    started, _Thread.started = _Thread.started, None
    assert started is not None
    return started


def headers_only(guard: Guard, event: Any, context: Any) -> tuple[bytes, bytes, Headers]:
    """No fold reads a body, and making them would be most of the work."""
    return guard.key.encode(), b"", [("content-type", CONTENT_TYPE), *guard_headers(guard)]


@contextmanager
def simulated() -> Iterator[None]:
    """While it lasts, tail, pending and writer run on tasks, and their log lines go nowhere."""
    threads = SimpleNamespace(Condition=_Condition, Event=_Event, Thread=_Thread, Lock=_Lock)
    logging_before = logging.root.manager.disable
    with ExitStack() as stack:
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging_before)
        stack.enter_context(pooled())
        for module in (tail, pending, writer):
            stack.enter_context(patch.object(module, "monotonic", _monotonic))
        stack.enter_context(patch.object(tail, "threading", threads))
        stack.enter_context(patch.object(pending, "Lock", _Lock))
        stack.enter_context(patch.object(writer, "encode", headers_only))
        yield
