"""Reads with a promise: not before the read model has passed the positions that the client has seen."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, TypeVar

from darkroom.query_api.live import RECHECK_S, Waiting, Watcher, seconds_left
from darkroom.query_api.store import Mark, Store
from darkroom.query_api.store_errors import GenerationGone
from darkroom.runtime.ids import Position
from darkroom.schemas.errors import ReadModelBehind, StoreUnavailable
from darkroom.schemas.views import FAMILY_OF, checkpoint_id

R = TypeVar("R")
_GENERATIONS_TRIED_MAX = 3
_TERMINAL = frozenset({"succeeded", "failed", "cancelled", "deleted"})


class ForeignPosition(Exception):
    """A position of another topic than the one that this read model is folded from."""


class Reader:
    """The store, with waiting."""

    def __init__(self, store: Store, watcher: Watcher, waiting: Waiting) -> None:
        self.store = store
        self.watcher = watcher
        self.waiting = waiting

    def read(
        self,
        read_model: str,
        get: Callable[[int], R],
        after: Sequence[Position] = (),
        deadline: float = 0.0,
        absent: Callable[[R], bool] = lambda found: not found,
    ) -> R:
        """`get(generation)` once that generation of `read_model`, and with it of its whole family, has passed
        every position of `after`.

        What is absent may have gone with its generation: the alias is read again before that is believed.
        Raises ReadModelBehind, ForeignPosition, StoreUnavailable, TooManyWaiting.
        """
        fresh, family = False, FAMILY_OF[read_model]
        for _ in range(_GENERATIONS_TRIED_MAX):
            try:
                generation = self.store.generation(family, fresh)
                self._pass(read_model, generation, after, deadline)
                found = get(generation)
            except GenerationGone:
                fresh = True
                continue
            if not absent(found) or self.store.generation(family, fresh=True) == generation:
                return found
            fresh = True
        raise StoreUnavailable(f"The read model {read_model} is being changed over; try again.")

    def _pass(self, read_model: str, generation: int, after: Sequence[Position], deadline: float) -> None:
        family = FAMILY_OF[read_model]
        if not after or _passed(self.store.marks(family, generation), after):
            return
        ids = [checkpoint_id(family, generation, p.partition) for p in after]
        with self.waiting.a_wait():
            while True:
                since = self.watcher.seen(ids)
                marks = self.store.marks(family, generation)
                if _passed(marks, after):
                    return
                left = seconds_left(deadline)
                if left <= 0 or self.watcher.stopping:
                    raise ReadModelBehind(_behind(read_model, marks, after))
                self.watcher.wait_change(ids, since, min(left, RECHECK_S))
                if self.store.generation(family) != generation:
                    raise GenerationGone

    def job(
        self, tenant: str, job: str, after: Sequence[Position] = (), deadline: float = 0.0
    ) -> dict[str, Any] | None:
        """A job's document, with the `topic_id` that it was folded from."""

        def get(generation: int) -> dict[str, Any] | None:
            found = self.store.job(generation, tenant, job)
            if found is not None:
                found["topic_id"] = self.store.topic_id("jobs", generation, found["partition"])
            return found

        return self.read("jobs", get, after, deadline)

    def deleted_among(self, tenant: str, entries: Sequence[Mapping[str, Any]]) -> frozenset[str]:
        """Which jobs of these entries of `history` are deleted by now: one read for all of them.

        Read the entries first. Raises StoreUnavailable.
        """
        jobs = {e["job"] for e in entries}
        # What the history says already needs no asking; nor would it be unsaid by an older generation of the jobs.
        found = {e["job"] for e in entries if e["status"] == "deleted"}
        asked = sorted(jobs - found)
        if asked:
            statuses = self.read(
                "jobs",
                lambda generation: self.store.statuses(generation, tenant, asked),
                absent=lambda known: len(known) < len(asked),
            )
            found |= {job for job, status in statuses.items() if status == "deleted"}
        return frozenset(found)

    def job_when_terminal(
        self, tenant: str, job: str, after: Sequence[Position], deadline: float, wait_s: float
    ) -> tuple[dict[str, Any] | None, bool]:
        """The job as soon as it is terminal, or as it is after `wait_s`; and whether it is terminal."""
        ends = monotonic() + wait_s
        found = self.job(tenant, job, after, deadline)
        if found is None or found["status"] in _TERMINAL:
            return found, True
        with self.waiting.a_wait():
            while True:
                ids = [checkpoint_id("jobs", self.store.generation("jobs"), found["partition"])]
                since = self.watcher.seen(ids)
                found = self.job(tenant, job)
                if found is None or found["status"] in _TERMINAL:
                    return found, True
                left = seconds_left(ends)
                if left <= 0 or self.watcher.stopping:
                    return found, False
                self.watcher.wait_change(ids, since, min(left, RECHECK_S))


def _passed(marks: dict[int, Mark], after: Sequence[Position]) -> bool:
    for position in after:
        mark = marks.get(position.partition)
        if mark is None and position.topic_id not in {m.topic_id for m in marks.values()} and marks:
            raise ForeignPosition
        if mark is not None and mark.topic_id != position.topic_id:
            raise ForeignPosition
        if mark is None or mark.next <= position.offset:
            return False
    return True


def _behind(read_model: str, marks: dict[int, Mark], after: Sequence[Position]) -> str:
    behind = []
    for position in after:
        mark = marks.get(position.partition)
        reached = mark.next if mark else 0
        if reached <= position.offset:
            behind.append(f"partition {position.partition} at {reached}, not yet past {position.offset}")
    return f"The read model {read_model} has not come so far: {'; '.join(behind)}."
