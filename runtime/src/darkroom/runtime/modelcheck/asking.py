"""Clients that repeat what they have no answer for, and executors that end what they have begun."""

from dataclasses import replace

from darkroom.runtime.modelcheck.instance import Instance
from darkroom.runtime.modelcheck.judge import Request
from darkroom.runtime.modelcheck.surroundings import Surroundings
from darkroom.runtime.modelcheck.temper import pick
from darkroom.runtime.protocol import Accepted
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.testing import PROBLEM, PROVENANCE, RESULTS, SPEC, TIMING

_LEASE_S = 15.0
_MAX_ATTEMPTS = 2


class Clients:
    """Everybody who asks for something."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self.job_ids = [f"job-{n}" for n in range(world.mood.jobs)]
        self._created: dict[str, tuple[bool, bool]] = {}
        self._asked: list[Request] = []
        self._open: dict[tuple[str, str, str], Request] = {}
        self._claims: list[tuple[str, int, int]] = []
        self._numbers = 0

    def ask(self) -> None:
        """A client asks for something new, or again for something that was asked before."""
        world, random = self._world, self._world.random
        dice = random.random()
        if self._asked and dice < 0.35:
            old = pick(random, self._asked if random.random() < 0.2 else self._asked[-6:])
            if old.identity.keyed or isinstance(old.command, job.Create):
                self._send(pick(random, world.instances), old.job_id, old.command, self._again(old))
                return
        job_id = pick(random, self.job_ids)
        if job_id not in self._created or random.random() < 0.1:
            self._create(job_id)
            return
        kinds: tuple[job.Command, ...] = (job.RequestRun(SPEC), job.RequestRun(SPEC), job.Cancel(), job.Delete())
        command = pick(random, kinds[: 4 if random.random() < 0.25 else 3])
        keyed = random.random() < 0.6
        number = self._next()
        key = "create" if keyed and random.random() < 0.03 else f"c{number}"  # now and then that of the creation
        identity = job.Identity(f"{job_id}-{key}", "h", "default", keyed, self._condition(job_id))
        self._send(pick(random, world.instances), job_id, command, identity)
        if keyed and random.random() < 0.2:  # the same at the same moment, elsewhere
            self._send(pick(random, world.instances), job_id, command, self._other_body(identity, 0.3))

    def execute(self) -> None:
        """An executor takes, ends, or gives up a run, or wakes up and does so much too late."""
        random = self._world.random
        instance = pick(random, self._world.instances)
        job_id = pick(random, self.job_ids)
        head = instance.head(job_id)
        if self._claims and random.random() < 0.4:
            job_id, run, attempt = pick(random, self._claims)
            self._send_executor(instance, job_id, self._end_of(run, attempt))
        elif head is None:
            return
        elif head.status is job.Status.QUEUED:
            dead_on_arrival = random.random() < 0.1
            start = job.Start(head.run, str(instance), _LEASE_S)
            self._send_executor(instance, job_id, job.Fail(head.run, 0, PROBLEM) if dead_on_arrival else start)
        elif head.status is job.Status.RUNNING:
            self._send_executor(instance, job_id, self._end_of(head.run, head.attempt))

    def told(self, request: Request) -> None:
        """A client has its answer, or a 503."""
        if isinstance(request.answer, Accepted | job.Refusal):
            self._open.pop(_name(request), None)
            if isinstance(request.answer, Accepted) and isinstance(request.command, job.Start):
                head = request.answer.outcome
                instance = request.instance
                assert isinstance(instance, Instance)
                known = instance.head(request.job_id)
                if known is not None and known.run == head.run:
                    self._claims.append((request.job_id, head.run, known.attempt))

    def ask_again_what_is_open(self) -> None:
        for request in list(self._open.values()):
            self._send(
                pick(self._world.random, self._world.instances), request.job_id, request.command, request.identity
            )

    def open_commands(self) -> list[Request]:
        return list(self._open.values())

    def _create(self, job_id: str) -> None:
        """By an idempotency key, or by a `PUT` under an id of the client's choice."""
        random = self._world.random
        if job_id not in self._created:
            self._created[job_id] = random.random() < 0.5, random.random() < 0.7
        by_key, execute = self._created[job_id]
        command_id = f"{job_id}-create" if by_key else f"{job_id}-c{self._next()}"
        condition = self._condition(job_id) if random.random() < 0.2 else None
        identity = self._other_body(job.Identity(command_id, f"h-{execute}", "default", by_key, condition), 0.05)
        self._send(pick(random, self._world.instances), job_id, job.Create(SPEC, {}, execute), identity)

    def _condition(self, job_id: str) -> job.Condition | None:
        """Every sixth command comes with an `If-Match`, as some instance has it, or a little older."""
        random = self._world.random
        if random.random() > 0.16:
            return None
        if random.random() < 0.2:
            return job.Condition(any=True)
        head = pick(random, self._world.instances).head(job_id)
        stands = head.version if head is not None else 1
        return job.Condition(frozenset({stands, max(1, stands - random.randrange(3))}))

    def _again(self, old: Request) -> job.Identity:
        identity = old.identity
        if not identity.keyed:
            identity = replace(identity, command_id=f"{old.job_id}-c{self._next()}")
        return self._other_body(identity, 0.12)

    def _other_body(self, identity: job.Identity, share: float) -> job.Identity:
        if self._world.random.random() >= share:
            return identity
        return replace(identity, request_hash=f"{identity.request_hash.removesuffix('-other')}-other")

    def _end_of(self, run: int, attempt: int) -> job.Command:
        ends: tuple[job.Command, ...] = (
            job.Succeed(run, attempt, RESULTS, None, TIMING, PROVENANCE),
            job.Succeed(run, attempt, RESULTS, None, TIMING, PROVENANCE),
            job.Fail(run, attempt, PROBLEM),
            job.EndAttempt(run, attempt, PROBLEM, _MAX_ATTEMPTS),
            job.EndAttempt(run, attempt, PROBLEM, _MAX_ATTEMPTS),
            job.Progress(run, attempt, "x", _LEASE_S, 1, 2),
        )
        return pick(self._world.random, ends)

    def _send_executor(self, instance: Instance, job_id: str, command: job.Command) -> None:
        identity = job.Identity(f"{job_id}-x{self._next()}", "h", "default")
        self._send(instance, job_id, command, identity, executor=True)

    def _send(
        self,
        instance: Instance,
        job_id: str,
        command: job.Command,
        identity: job.Identity,
        *,
        executor: bool = False,
    ) -> None:
        partition = partition_of(job_id, self._world.broker.partitions)
        request = Request(job_id, command, identity, partition, self._next())
        request.new_job = isinstance(command, job.Create) and self._world.random.random() < 0.3
        request.new_command = not identity.keyed and not isinstance(command, job.Create)
        if not executor:
            self._asked.append(request)
            if identity.keyed:
                self._open[_name(request)] = request
        looks_first = isinstance(command, job.RequestRun) and self._world.random.random() < 0.5
        self._world.begin(instance, request, looks_first)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def _name(request: Request) -> tuple[str, str, str]:
    return request.job_id, request.identity.command_id, request.identity.request_hash
