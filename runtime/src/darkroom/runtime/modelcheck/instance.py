"""One instance of the write side: real heads, real tail, real writer, and the tasks that are its threads."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from greenlet import GreenletExit, getcurrent  # type: ignore[import-untyped]  # has none

from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.modelcheck.broker import LogOf
from darkroom.runtime.modelcheck.judge import Request
from darkroom.runtime.modelcheck.machine import DEADLINE, Task, pause, take_started
from darkroom.runtime.modelcheck.surroundings import Surroundings
from darkroom.runtime.modelcheck.temper import pick
from darkroom.runtime.protocol import Verdict
from darkroom.runtime.tail import Tail
from darkroom.runtime.testing_writer import CONTEXT
from darkroom.runtime.writer import JobWriter
from darkroom.schemas import job
from darkroom.schemas.errors import Refused, Unavailable

_COPY_SHARE = 0.15
_SUFFIXES = ("", "-wal")


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


class Instance:
    """A process that is started, frozen, killed and started again. `eagerness` of its tail: 1 lags the most."""

    def __init__(self, world: Surroundings, number: int, eagerness: int, *, in_memory: bool = False) -> None:
        self.number = number
        self.frozen_until = 0
        self._dies_at: int | None = None
        self.heads: HeadStore | None = None
        self._world = world
        self._eagerness = eagerness
        self._path = None if in_memory else world.path_of(number)
        self._copy = Path(f"{self._path}.copy")
        self._tasks: dict[Task, Request] = {}

    def __str__(self) -> str:
        return f"instance {self.number}"

    def start(self) -> None:
        """The process starts: from its heads file, if it has one."""
        self._dies_at = None
        self._log = LogOf(self._world.broker, self._world.random)
        self.heads = HeadStore(self._path or ":memory:", self._log)
        self._tail = Tail(self._log, _Watched(self, self.heads), str(self))
        self._writer = JobWriter(self._log, self._tail, self._seen_heads(self.heads), fresh_id=self._world.fresh_id)
        self._tail.start()
        self._reading = take_started()

    def _seen_heads(self, heads: HeadStore) -> HeadStore:
        """The heads as the writer sees them: the tail may fold between a look at a head and one at the commands."""
        return cast(HeadStore, _Looked(self._world, heads))

    def crash(self) -> None:
        """Everything that only memory held is gone."""
        if self.heads is None:
            return
        for task, request in self._tasks.items():
            task.throw(GreenletExit)
            if not request.done:
                request.done = True
                self._world.judge.ends(request)
        self._tasks.clear()
        self._reading.throw(GreenletExit)
        if self._log.reader is not None:
            self._log.reader.close()
        for flight in self._log.flights:
            flight.delivery.told = True  # nobody is left to hear of it
        self._close_as_killed(self.heads)
        self.heads = None

    def restart_state(self) -> str:
        """What the next start finds in the heads file's place."""
        if self._path is None:
            return "lost"
        dice = self._world.random.random()
        if dice < 0.6:
            return "kept"
        _remove(self._path)
        if dice < 0.8 or not self._copy.exists():
            return "lost"
        shutil.copy(self._copy, self._path)
        return "as they were before"

    def keep_a_copy(self) -> None:
        """Now and then somebody copies the heads file; a crash may put the copy back."""
        if self._path is not None and self.heads is not None and self._world.random.random() < _COPY_SHARE:
            self.heads.copy_to(self._copy)

    def _close_as_killed(self, heads: HeadStore) -> None:
        """Closes the heads, and leaves their file as it was before that, as kill -9 does."""
        killed = Path(f"{self._path}.killed")
        if self._path is not None:
            for suffix in _SUFFIXES:
                shutil.copy(f"{self._path}{suffix}", f"{killed}{suffix}")
        heads.close()
        if self._path is not None:
            _remove(self._path)
            for suffix in _SUFFIXES:
                shutil.move(f"{killed}{suffix}", f"{self._path}{suffix}")

    def serve(self, request: Request, looks_first: bool) -> None:
        """A request arrives. Nobody answers while the process is down."""
        request.instance = self
        if self.heads is None:
            request.done = True
            self._world.judge.ends(request)
            return
        request.after_stop = self._tail.failure is not None
        self._tasks[Task(lambda: self._answer(request, looks_first))] = request

    def weight(self) -> int:
        """How many chances its tasks have against everything else that could happen next."""
        if self.heads is None or self._dies_at is not None:
            return 1
        return len(self._tasks) + (self._eagerness > 1 and self._reading.runnable)

    def go_on(self) -> bool:
        """Lets one of its tasks run on; False if none can."""
        if self.heads is None:
            self.start()
            positions = dict(self._tail._positions)
            self._world.say(lambda: f"{self} starts at {positions}")
            self._world.after_start(self, positions)
            return True
        if self._dies_at is not None and self._world.step >= self._dies_at:
            self._world.crash(self)
            return True
        choices: list[Task] = [task for task in self._tasks if task.runnable]
        if not self._reading.dead and self._reading.runnable:
            choices += [self._reading] * (1 if choices else self._eagerness)
        if not choices:
            return False
        self._resume(pick(self._world.random, choices))
        return True

    def heal(self) -> None:
        """From now on its tail reads whatever there is; where it has stopped, the process ends at once."""
        if self._dies_at is not None:
            self._dies_at = 0
        if self._log.reader is not None:
            self._log.reader.hurry = True

    def deadline(self, request: Request) -> None:
        """Its time is over, wherever it stands."""
        for task, asked in self._tasks.items():
            if asked is request:
                task.let_time_pass()
                self._world.say(lambda: f"the deadline of {request} passes")

    def head(self, job_id: str) -> job.Head | None:
        return self.heads.get(job_id) if self.heads is not None else None

    def _is_blind(self) -> bool:
        """Whether its log has lost what it has folded, and its reader has not heard of it, or does not read yet."""
        if self._log.reader is not None:
            return self._log.reader.lost
        assert self.heads is not None
        epochs = self.heads.epochs()
        return any(
            offset > 0 and not self._world.broker.logs[p].has(offset - 1, epochs.get(p, -1))
            for p, offset in self.heads.positions().items()
        )

    def _resume(self, task: Task) -> None:
        task.switch()
        if task is self._reading:
            if task.dead:  # the tail has stopped, and with it the process ends, a moment later
                if not isinstance(self._tail.failure, Unavailable):
                    raise self._tail.failure or AssertionError("the tail has ended without a reason")
                self._world.count("tail stopped")
                self._world.say(lambda: f"{self}: {self._tail.failure}")
                self._dies_at = self._world.step + self._world.random.randrange(25)
            return
        if task.dead:
            request = self._tasks.pop(task)
            request.done = True
            self._world.say(lambda: f"{self} answers {request}: {request.answer}")
            self._world.judge.answered(request, excused=self._is_blind() and not request.after_stop)
            self._world.clients.told(request)

    def _answer(self, request: Request, looks_first: bool) -> None:
        try:
            if looks_first:
                head = self._writer.head(request.job_id, DEADLINE)
                if head is None or head.tenant != request.identity.tenant:
                    raise Refused(job.Refusal(job.Why.UNKNOWN, "There is no such job."))
            request.answer = self._writer.execute(
                request.job_id,
                request.command,
                request.identity,
                CONTEXT,
                DEADLINE,
                new_command=request.new_command,
                new_job=request.new_job,
            )
        except Refused as refused:
            request.answer = refused.refusal
        except Unavailable as error:
            request.answer = error


class _Looked:
    def __init__(self, world: Surroundings, heads: HeadStore) -> None:
        self._world = world
        self._heads = heads

    def get(self, job_id: str) -> job.Head | None:
        head = self._heads.get(job_id)
        current = getcurrent()
        if isinstance(current, Task):
            current.premise = head.last_event_id if head is not None else ""
        return head

    def seen(self, job_id: str, command_id: str) -> job.Outcome | None:
        if self._world.random.random() < 0.15:
            pause()
        return self._heads.seen(job_id, command_id)

    def positions(self) -> Mapping[int, int]:
        return self._heads.positions()


class _Watched:
    """The fold as the tail sees it: what it did is judged, and heads are seen before their verdicts are told."""

    def __init__(self, instance: Instance, fold: HeadStore) -> None:
        self._instance = instance
        self._fold = fold

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fold, name)

    def positions(self) -> Mapping[int, int]:
        return self._fold.positions()

    def epochs(self) -> Mapping[int, int]:
        return self._fold.epochs()

    def apply(self, records: Sequence[Record]) -> Sequence[Verdict]:
        world = self._instance._world
        if world.random.random() < 0.15:
            pause()
        verdicts = self._fold.apply(records)
        world.say(
            lambda: (
                f"{self._instance} folds "
                + ", ".join(f"{r.partition}/{r.offset}" for r in records)
                + (
                    ": " + ", ".join(f"{v.event_id} {'ok' if v.accepted else 'void'}" for v in verdicts)
                    if verdicts
                    else ""
                )
            )
        )
        world.judge.folded(self._instance, records, verdicts)
        if world.random.random() < 0.3:
            pause()
        return verdicts
