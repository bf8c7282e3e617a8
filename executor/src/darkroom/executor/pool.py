"""Children per runtime, and the runs that wait for one to be free."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from darkroom.executor.childprocess import ChildProcess, child_command
from darkroom.executor.outcomes import Outcome, RunRequest, Stopped
from darkroom.executor.preprocess import PIXELS_MAX


class PoolBusy(Exception):
    """No child became free in time: more runs were handed in than the pool has children for."""


class ChildPool:
    """Children per runtime: as many runs side by side as a runtime has children, each in a process of its own."""

    def __init__(self, children: Mapping[str, Sequence[ChildProcess]]) -> None:
        self._all = {runtime: list(some) for runtime, some in children.items()}
        self._condition = threading.Condition()  # guards what follows
        self._free = {runtime: list(some) for runtime, some in children.items()}
        self._busy: dict[str, ChildProcess] = {}
        self._waiting: dict[str, bool] = {}  # key → whether it was stopped while it waited
        self._closed = False

    @contextmanager
    def reserve(
        self, runtime: str, key: str, wait_s: float, stop: threading.Event | None = None
    ) -> Iterator[ChildProcess | None]:
        """A child of the runtime for the run ``key``, until the context ends; None when it was stopped meanwhile.

        Who sets ``stop`` and then calls ``stop(key)`` ends the run, however early that happens. Raises PoolBusy
        after ``wait_s``, ValueError for a runtime that this pool does not have.
        """
        child = self._take(runtime, key, time.monotonic() + wait_s, stop)
        try:
            yield child
        finally:
            if child is not None:
                child.give_back(key)
                with self._condition:
                    del self._busy[key]
                    self._free[runtime].append(child)
                    self._condition.notify_all()

    def run(
        self, request: RunRequest, deadline_s: float, wait_s: float = 600.0, stop: threading.Event | None = None
    ) -> Outcome:
        """Run on a free child of the model's runtime. Waiting for one does not count towards ``deadline_s``."""
        with self.reserve(str(request.model.get("runtime")), request.key, wait_s, stop) as child:
            return Stopped() if child is None else child.run(request, deadline_s)

    def stop(self, key: str) -> bool:
        """Stop the run ``key``, running or waiting for a child; False if there is none such."""
        with self._condition:
            if key in self._waiting:
                self._waiting[key] = True
                self._condition.notify_all()
                return True
            child = self._busy.get(key)
        return child is not None and child.stop(key)

    def close(self) -> None:
        """Stop all runs and end all children."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for some in self._all.values():
            for child in some:
                child.close()

    def _take(self, runtime: str, key: str, until: float, stop: threading.Event | None) -> ChildProcess | None:
        with self._condition:
            if runtime not in self._free:
                raise ValueError(f"no children for the runtime {runtime!r}")
            if key in self._waiting or key in self._busy:
                raise ValueError(f"run {key!r} is here already")
            free = self._free[runtime]
            self._waiting[key] = stop is not None and stop.is_set()
            try:
                self._condition.wait_for(
                    lambda: free or self._waiting[key] or self._closed, timeout=max(0.0, until - time.monotonic())
                )
                if self._waiting[key] or self._closed:
                    return None
                if not free:
                    raise PoolBusy(f"no free child for {runtime} in time")
                child = free.pop()  # the one used last: its models are loaded
            finally:
                del self._waiting[key]
            child.reserve(key)
            self._busy[key] = child
            return child


def make_pool(
    scratch_folder: Path,
    litert_children: int = 2,
    tf_children: int = 1,
    threads: int = 1,
    pixels_max: int = PIXELS_MAX,
    start_timeout_s: float = 60.0,
) -> ChildPool:
    """A pool for both runtimes; no child starts before its first run. A TensorFlow child costs about 700 MiB."""
    scratch_folder.mkdir(parents=True, exist_ok=True)
    counts = {"litert": litert_children, "tf-savedmodel": tf_children}
    return ChildPool(
        {
            runtime: [
                ChildProcess(child_command(runtime, threads, pixels_max), scratch_folder, start_timeout_s)
                for _ in range(count)
            ]
            for runtime, count in counts.items()
        }
    )
