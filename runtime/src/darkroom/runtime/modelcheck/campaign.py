"""Many schedules, over several processes."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context

from darkroom.runtime.modelcheck.machine import simulated
from darkroom.runtime.modelcheck.reference import Violation
from darkroom.runtime.modelcheck.temper import ORDINARY, Kind
from darkroom.runtime.modelcheck.world import run_schedule

CHUNK = 250
FAILURES_MAX = 10
"""So many failures in one chunk are enough to know."""


@dataclass
class Chunk:
    """Some schedules: the seeds from `first` up to, but without `end`, what happened, and which failed."""

    first: int
    end: int
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def run_chunk(first: int, end: int, kind: Kind = ORDINARY) -> Chunk:
    """Runs these seeds in this process."""
    chunk = Chunk(first, end)
    with simulated():
        for seed in range(first, end):
            try:
                chunk.counts += run_schedule(seed, kind)
            except Violation as violation:
                chunk.failures.append(str(violation))
                if len(chunk.failures) >= FAILURES_MAX:
                    break
    return chunk


def run_all(first: int, schedules: int, workers: int | None = None) -> Iterator[Chunk]:
    """Runs seeds in spawned processes (None: one per core; 1: in this one), a chunk at a time; chunks come back in
    order."""
    workers = workers or os.cpu_count() or 1
    end = first + schedules
    starts = iter(range(first, end, CHUNK))
    if workers == 1:
        for start in starts:
            yield run_chunk(start, min(start + CHUNK, end))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        waiting = [processes.submit(run_chunk, n, min(n + CHUNK, end)) for n in islice(starts, 2 * workers)]
        while waiting:
            done = waiting.pop(0).result()
            waiting += [processes.submit(run_chunk, n, min(n + CHUNK, end)) for n in islice(starts, 1)]
            yield done
