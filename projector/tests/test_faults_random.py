"""Whatever happens in whatever order, in one database: the read models equal a clean fold of the log."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from time import monotonic

import pytest

from darkroom.projector.projections.families import JOBS
from darkroom.projector.rebuild_job import rebuild_job
from darkroom.projector.store import Fenced
from darkroom.projector.store_generations import alias_of
from darkroom.projector.store_lease import Lease
from darkroom.projector.switching import roll_back, switch_to
from darkroom.projector.testing import traffic
from darkroom.schemas.errors import StoreUnavailable


class Scene:
    """A log that grows, projectors that come and go and suffer, and replays that switch."""

    def __init__(self, bench, seed: int) -> None:
        self.bench, self.random = bench, Random(seed)
        self.records = traffic(seed, 600, 3)
        self.appended = 0
        self.awake, self.frozen = [], []
        self.inside: list[ExitStack] = []
        self.trace: list[str] = []
        self.begun = monotonic()

    def note(self, what: str) -> None:
        self.trace.append(f"{monotonic() - self.begun:.1f} s: {what}")

    def append(self) -> None:
        count = self.random.choice((1, 10, 100))
        self.bench.append(self.records[self.appended : self.appended + count])
        self.appended = min(len(self.records), self.appended + count)

    def start(self) -> None:
        """A process, in the common group or in one of its own, that may stop of itself in a transaction."""
        group = self.random.choice(("group", f"group-{len(self.trace)}"))
        stop = self.random.choice(({}, {"DARKROOM_FAILPOINT": f"stop@projector-before-commit:{len(self.trace)}"}))
        self.awake.append(self.bench.process(group, **stop))

    def join(self) -> None:
        with ExitStack() as opening:
            opening.enter_context(self.bench.live())
            self.inside.append(opening.pop_all())

    def leave(self) -> None:
        if self.inside:
            self.inside.pop(self.random.randrange(len(self.inside))).close()

    def freeze(self) -> None:
        if self.awake:
            self.frozen.append(self.awake.pop(self.random.randrange(len(self.awake))))
            os.kill(self.frozen[-1].pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if self.frozen:
            self.awake.append(self.frozen.pop(0))
            os.kill(self.awake[-1].pid, signal.SIGCONT)

    def kill(self) -> None:
        if self.awake:
            self.awake.pop(self.random.randrange(len(self.awake))).kill()

    def switch(self) -> None:
        store, log = self.bench.store, self.bench.log
        with Lease(store, JOBS, self.note) as lease:
            switch_to(store, log, log.topic, JOBS, self.bench.begun(), lease)

    def roll_back(self) -> None:
        if alias_of(self.bench.store, JOBS)["kept"]:
            roll_back(self.bench.store, self.bench.log, self.bench.log.topic, JOBS)

    def rebuild(self) -> None:
        job = self.bench.store.database["jobs_g1"].find_one({}, {"_id": 1})
        if job is not None:
            rebuild_job(self.bench.store, self.bench.log, self.bench.log.topic, job["_id"])

    def play(self, steps: int) -> None:
        common: list[Callable[[], None]] = [self.append] * 6 + [self.freeze, self.thaw, self.kill, self.leave]
        rare = [self.start, self.start, self.join, self.switch, self.roll_back, self.rebuild, self.rebuild]
        for _ in range(steps):
            act = self.random.choice(common + rare)
            self.note(act.__name__)
            try:
                act()
            except (Fenced, StoreUnavailable) as error:  # someone frozen stands in the way: an operator tries again
                self.note(str(error))
            threading.Event().wait(self.random.random() * 0.2)

    def close(self) -> None:
        for inside in self.inside:
            inside.close()
        self.inside.clear()


def play(bench, clean_fold, seed: int, steps: int) -> None:
    scene = Scene(bench, seed)
    try:
        with bench.live("first"):
            bench.wait_projected(0)
        scene.append()
        scene.join()
        scene.play(steps)
        scene.note("the end")
        for process in scene.frozen + scene.awake:
            os.kill(process.pid, signal.SIGCONT)
        with bench.live("last"):
            bench.wait_projected(scene.appended)
            alias = alias_of(bench.store, JOBS)
            expected = clean_fold(scene.records[: scene.appended])
            for generation in (alias["live"], *alias["kept"]):
                bench.wait_projected(scene.appended, generation)
                assert bench.checksums(generation) == expected
    except BaseException as error:
        error.add_note(f"seed {seed}: " + "; ".join(scene.trace))
        raise
    finally:
        scene.close()


def test_a_random_life(bench, clean_fold):
    play(bench, clean_fold, 1, 15)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_random_lives(bench, clean_fold, seed):
    play(bench, clean_fold, seed, 60)
