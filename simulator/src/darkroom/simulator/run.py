"""Sends a scenario: paced, with bounded concurrency, and in the stream's order for each job."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from itertools import islice
from time import monotonic

from darkroom.simulator.client import Answer, CommandClient, Unreachable
from darkroom.simulator.pictures import Picture
from darkroom.simulator.scenario import TARGETS_MAX, Action, BadCreate, Create
from darkroom.simulator.sending import send
from darkroom.simulator.summary import Counts, Summary

JOBS_REMEMBERED_MAX = 4 * TARGETS_MAX
_TURN_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much to send: `rate_per_s` None is as fast as the answers come. Without count and duration it goes
    on until it is stopped. `concurrency`: requests under way at the same time."""

    rate_per_s: float | None = None
    count: int | None = None
    duration_s: float | None = None
    concurrency: int = 16


class Simulation:
    """One run of a scenario against a command API."""

    def __init__(
        self,
        client: CommandClient,
        actions: Iterator[Action],
        pool: Sequence[Picture],
        pace: Pace,
        on_summary: Callable[[Summary], None],
        summary_every_s: float = 1.0,
    ) -> None:
        self._client = client
        self._actions = actions
        self._pool = pool
        self._pace = pace
        self._on_summary = on_summary
        self._summary_every_s = summary_every_s
        self._counts = Counts()
        self._slots = threading.BoundedSemaphore(pace.concurrency)
        # Per creating action: the end of the last action on its job. Its result is the job's id, or None.
        self._turns: dict[int, Future[str | None]] = {}

    def run(self, stopping: threading.Event) -> Summary:
        """Sends until the pace's count or duration is reached, or `stopping` is set; waits for what is under
        way, and gives the final summary."""
        with (
            _Ticker(self._summary_every_s, lambda: self._on_summary(self._counts.summary())),
            ThreadPoolExecutor(self._pace.concurrency, thread_name_prefix="simulator") as workers,
        ):
            started = monotonic()
            for number, action in enumerate(islice(self._actions, self._pace.count)):
                due = self._wait_for_turn(started, number, stopping)
                if due is None:
                    break
                before, turn = self._queue(action)
                workers.submit(self._carry_out, action, due, before, turn)
        return self._counts.summary()

    def _wait_for_turn(self, started: float, number: int, stopping: threading.Event) -> float | None:
        """When the action is due (monotonic clock), once a slot is free for it; None if there is no more."""
        ends = started + self._pace.duration_s if self._pace.duration_s is not None else None
        due = started + number / self._pace.rate_per_s if self._pace.rate_per_s else None
        if due is not None and ends is not None and due >= ends:
            stopping.wait(max(0.0, ends - monotonic()))
            return None
        if due is not None and stopping.wait(max(0.0, due - monotonic())):
            return None
        while not self._slots.acquire(timeout=0.1):
            if stopping.is_set():
                return None
        if stopping.is_set() or (ends is not None and monotonic() >= ends):
            self._slots.release()
            return None
        return due if due is not None else monotonic()

    def _queue(self, action: Action) -> tuple[Future[str | None] | None, Future[str | None]]:
        """The action's place among those on the same job: what it waits for, and what waits for it."""
        turn: Future[str | None] = Future()
        if isinstance(action, BadCreate):
            return None, turn
        number = action.number if isinstance(action, Create) else action.target
        before = self._turns.pop(number, None)
        self._turns[number] = turn
        while len(self._turns) > JOBS_REMEMBERED_MAX:
            del self._turns[next(iter(self._turns))]
        return before, turn

    def _carry_out(
        self, action: Action, due: float, before: Future[str | None] | None, turn: Future[str | None]
    ) -> None:
        # An action waits only for actions that were handed out earlier, so the oldest one never waits.
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(action).__name__).lower()
        job_id: str | None = None
        try:
            try:
                job_id = before.result(_TURN_TIMEOUT_S) if before is not None else ""
                if job_id is None:
                    self._counts.add(name, 0.0, accepted=False, finding=f"{name}: its job was never created")
                    return
                answer = send(self._client, action, job_id, self._pool)
            except (Unreachable, FutureTimeout) as error:
                self._counts.add(name, monotonic() - due, accepted=False, finding=f"{name}: {error}")
                return
            finding = _judged(name, action, job_id, answer)
            self._counts.add(name, monotonic() - due, accepted=answer.status == 202, finding=finding)
            if isinstance(action, Create):
                job_id = str(answer.body.get("id", "")) if answer.status == 202 else None
        except BaseException as error:  # a fault of the simulator's own: it must not hang the others
            self._counts.add(name, 0.0, accepted=False, finding=f"{name}: {type(error).__name__}: {error}")
            raise
        finally:
            turn.set_result(job_id)
            self._slots.release()


def _judged(name: str, action: Action, job_id: str, answer: Answer) -> str | None:
    """Why the answer is not the right one; None if it is."""
    what = f"{name} {action.fault}" if isinstance(action, BadCreate) else name
    if answer.status not in action.expected:
        right = " or ".join(str(status) for status in sorted(action.expected))
        return f"{what} (action {action.number}): expected {right}, got {answer.explain()}"
    if isinstance(action, BadCreate) and answer.problem != action.problem:
        return f"{what} (action {action.number}): expected {action.problem}, got {answer.explain()}"
    if answer.status >= 400 and not answer.body.get("type"):
        return f"{what} (action {action.number}): {answer.status} without a problem type"
    if answer.status == 202 and job_id and answer.body.get("id") != job_id:
        return f"{what} (action {action.number}): answered for {answer.body.get('id')}, not for {job_id}"
    return None


class _Ticker:
    """Calls a function every so often from a thread of its own, while the block lasts, and once at its end."""

    def __init__(self, every_s: float, call: Callable[[], None]) -> None:
        self._every_s = every_s
        self._call = call
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="summary", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._done.wait(self._every_s):
            self._call()
        self._call()
