"""One round: load, faults meanwhile, healing, rest, judgement."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from campaign.checker import Violation, judge
from campaign.client import Clients
from campaign.faults import Fault, Hand, schedule
from campaign.fleet import Fleet
from campaign.history import Call, LogRecord, write_lines
from campaign.logfold import fold
from campaign.observer import Observer
from campaign.plan import script
from darkroom.cli.stack.errors import StackError

REST_TIMEOUT_S = 60.0
_DIRECTORS = 8


@dataclass
class Result:
    """What a round has shown. `rest_s`: how long after healing no job was queued or running."""

    seed: str
    faults: list[Fault]
    jobs: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    events: int = 0
    void: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    load_s: float = 0.0
    heal_s: float = 0.0
    rest_s: float = 0.0
    violations: list[Violation] = field(default_factory=list)

    def line(self) -> str:
        """The round in a line."""
        answers = " ".join(f"{status}:{count}" for status, count in sorted(self.statuses.items()))
        runs = " ".join(f"{end}:{count}" for end, count in sorted(self.runs.items()))
        return (
            f"{self.seed}: {self.jobs} jobs; answers {answers}; {self.events} events, {self.void} void; "
            f"ends {runs}; {self.deaths} deaths at failpoints; load {self.load_s:.1f} s, "
            f"healed in {self.heal_s:.1f} s, at rest {self.rest_s:.1f} s later; {len(self.violations)} violations"
        )


class Campaign:
    """Rounds on one fleet. What is asked and answered in a round is judged with the round before it: a request of
    which nobody knows what became of it may still take effect then."""

    def __init__(self, fleet: Fleet, *, threads: int = 96) -> None:
        self._fleet = fleet
        self._threads = threads
        self.observer = Observer(fleet.settings.kafka, fleet.settings.topic_jobs)
        self._before: list[Call] = []
        self._before_begin: Mapping[int, int] = dict.fromkeys(range(self.observer.partitions), 0)
        self._older: frozenset[str] = frozenset()

    def close(self) -> None:
        self.observer.close()

    def round(
        self,
        seed: str,
        *,
        jobs: int = 0,
        seconds: float = 0.0,
        faults: int = 0,
        keep: Path,
        keep_always: bool = False,
    ) -> Result:
        """Follows `jobs` scripts, or as many as fit into `seconds`, with so many faults meanwhile. On a violation,
        or always if so asked, history and log are kept in folder `keep`."""
        fleet = self._fleet
        result = Result(seed, schedule(seed, seconds, faults, replicas=max(1, len(fleet.brokers))))
        begin = self.observer.ends()
        deaths = sum(part.deaths() for part in fleet.services)
        clients = Clients(
            fleet.ports, fleet.media, threads=self._threads, timeout_s=2 * fleet.request_deadline_s + 2
        )
        load = _Load(clients, seed, jobs)
        hand = Hand(fleet)
        hand.arm(result.faults)
        begin_s = monotonic()
        try:
            load.start()
            if seconds:
                hand.carry_out(result.faults, seconds, load.failed)
                load.enough.set()
                begin_heal_s = monotonic()
                result.violations += _healed(fleet)
                result.heal_s = monotonic() - begin_heal_s
            load.join()
        finally:
            load.enough.set()
            clients.close()
        result.jobs, result.load_s = load.jobs, monotonic() - begin_s - result.heal_s
        rest_begin_s = monotonic()
        self.observer.at_rest(REST_TIMEOUT_S)
        result.rest_s = monotonic() - rest_begin_s
        records, lost = self.observer.read_again(self._before_begin)
        history = self._before + clients.history
        result.violations += judge(history, records, self.observer.partitions, other_jobs=self._older)
        result.violations += [Violation("the log lost", "", what) for what in lost]
        self._count(result, clients.history, records, begin)
        result.deaths = sum(part.deaths() for part in fleet.services) - deaths
        if result.violations or keep_always:
            keep.mkdir(parents=True, exist_ok=True)
            write_lines(keep / f"{seed}.history.jsonl", history)
            write_lines(keep / f"{seed}.log.jsonl", (r for r in records if r.key not in self._older))
        self._older |= {call.job_id for call in self._before}
        self._before, self._before_begin = clients.history, begin
        self.observer.forget(begin)
        return result

    def _count(
        self, result: Result, history: list[Call], records: list[LogRecord], begin: Mapping[int, int]
    ) -> None:
        result.statuses = Counter("none" if call.status is None else str(call.status) for call in history)
        own = [record for record in records if record.offset >= begin[record.partition]]
        stories = fold(own, self.observer.partitions).stories.values()
        result.events = sum(len(story.accepted) for story in stories)
        result.void = sum(len(story.void) for story in stories)
        ends = {"execution-succeeded": "succeeded", "execution-failed": "failed", "attempt-expired": "expired"}
        result.runs = Counter(ends[e.type] for story in stories for e in story.accepted if e.type in ends)


def _healed(fleet: Fleet) -> list[Violation]:
    """Heals the fleet. What does not become ready by itself is a violation, and is started anew."""
    try:
        fleet.heal()
    except StackError as error:
        fleet.start_again()
        return [Violation("does not recover", "", str(error))]
    return []


class _Load:
    """Directors, each of which follows one script after the other."""

    def __init__(self, clients: Clients, seed: str, jobs: int) -> None:
        """`jobs`: how many scripts, or 0 for as many as there is time for."""
        self._clients, self._seed, self._most = clients, seed, jobs
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self.jobs = 0
        self.enough = threading.Event()
        self.failed = threading.Event()
        self._threads = [threading.Thread(target=self._direct, name=f"director-{n}") for n in range(_DIRECTORS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Raises what a director has met with."""
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _direct(self) -> None:
        try:
            while (number := self._next()) is not None:
                self._clients.follow(script(self._seed, number))
        except BaseException as error:
            self._error = error
            self.failed.set()

    def _next(self) -> int | None:
        with self._lock:
            if self.enough.is_set() or (self._most and self.jobs >= self._most):
                return None
            self.jobs += 1
            return self.jobs - 1
