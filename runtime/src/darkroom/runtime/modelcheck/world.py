"""One schedule: instances, clients, executors and faults, in an order that a seed decides."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from unittest.mock import patch

from darkroom.runtime import headsfold
from darkroom.runtime.eventlog.port import Ack
from darkroom.runtime.modelcheck import temper
from darkroom.runtime.modelcheck.asking import Clients
from darkroom.runtime.modelcheck.broker import Broker, Flight
from darkroom.runtime.modelcheck.instance import Instance
from darkroom.runtime.modelcheck.judge import Judge, Request
from darkroom.runtime.modelcheck.reference import Reference, Violation
from darkroom.runtime.modelcheck.temper import pick
from darkroom.schemas.errors import LogUnavailable

_HEALING_STEPS_MAX = 3_000
_LIVE_MAX = 6

Trace = Callable[[str], None]


def run_schedule(seed: int, kind: temper.Kind = temper.ORDINARY, trace: Trace | None = None) -> Counter[str]:
    """Runs one schedule inside `machine.simulated()`. Returns how often what happened. Raises Violation, whose text
    names the seed and the step; any other exception of the code under test becomes one."""
    world = World(seed, kind, trace)
    try:
        world.run()
    except Exception as error:
        said = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
        raise Violation(f"seed {seed}, step {world.step}: {said}") from error
    finally:
        world.end()
    return world.judge.counts


class World:
    """Everything there is, and the scheduler."""

    def __init__(self, seed: int, kind: temper.Kind, trace: Trace | None) -> None:
        self.random = random = Random(seed)
        self.mood = mood = temper.draw(random, kind)
        self.step = 0
        self._trace = trace
        self.broker = Broker(mood.partitions, mood.window, strict=not mood.forged)
        self.judge = Judge(self.broker, mood.window)
        self._ids = 0
        self._window = patch.object(headsfold, "REMEMBERED_OFFSETS", mood.window)
        self._window.start()
        self._folder = Path(tempfile.mkdtemp(prefix="darkroom-model-")) if mood.files else None
        self.instances = [Instance(self, n, mood.speeds[n]) for n in range(len(mood.speeds))]
        self.clients = Clients(self)
        for instance in self.instances:
            instance.start()
        self.say(lambda: f"{mood}")

    def end(self) -> None:
        for instance in self.instances:
            instance.crash()
        self._window.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def fresh_id(self) -> str:
        self._ids += 1
        return f"e{self._ids}"

    def path_of(self, number: int) -> Path | None:
        return self._folder / f"{number}.sqlite" if self._folder is not None else None

    def say(self, line: Callable[[], str]) -> None:
        """A line of the trace; nothing is formatted where nobody listens."""
        if self._trace is not None:
            self._trace(f"{self.step:4} {line()}")

    def count(self, what: str) -> None:
        self.judge.counts[what] += 1

    # ------------------------------------------------------------------------------------------ a schedule

    def run(self) -> None:
        random, mood = self.random, self.mood
        for self.step in range(1, mood.steps + 1):
            dice = random.random()
            if dice < 0.16:
                if len(self.judge.live) < _LIVE_MAX:
                    self.clients.ask()
            elif dice < 0.22:
                self.clients.execute()
            elif dice < 0.22 + mood.faults:
                self._fault()
            else:
                self._go_on()
        self._heal()
        self._compare()

    def begin(self, instance: Instance, request: Request, looks_first: bool) -> None:
        """A request reaches an instance."""
        self.judge.begins(request)
        self.say(lambda: f"{instance} is asked: {request}")
        instance.serve(request, looks_first)

    def _go_on(self) -> None:
        """One task goes on, or one append: whichever the dice choose."""
        choices: list[Instance | Flight] = []
        now = self.step
        for instance in self.instances:
            if instance.frozen_until <= now:
                choices += [instance] * instance.weight()
        choices += [flight for flight in self.broker.flights if flight.held_until <= now]
        if not choices:
            return
        chosen = pick(self.random, choices)
        if isinstance(chosen, Flight):
            self._fly(chosen)
        else:
            chosen.go_on()

    def _fly(self, flight: Flight) -> None:
        """What may happen to an append on its way, and to its acknowledgement."""
        dice, mood = self.random.random(), self.mood
        if not flight.landed:
            if dice < mood.lost:
                self._over(flight, "is lost on its way")
                if self.random.random() < 0.5:
                    self._tell(flight, None)
            elif dice < 2 * mood.lost and not flight.delivery.told:
                self._tell(flight, None)  # given up by its writer; it may land all the same
            else:
                self._land(flight)
            return
        if dice < mood.duplicated and len(flight.landed) < 3:
            self.count("duplicate")
            self._land(flight)
        elif dice < mood.duplicated + mood.unacknowledged:
            self._over(flight, "is never acknowledged")
        elif dice < mood.duplicated + 2 * mood.unacknowledged:
            self._over(flight, "is acknowledged without an offset")
            self._tell(flight, Ack(flight.partition, None))
        else:
            entry = pick(self.random, flight.landed)
            self._over(flight, f"is acknowledged at offset {entry.offset}")
            self._tell(flight, Ack(flight.partition, entry.offset))

    def _land(self, flight: Flight) -> None:
        entry = self.broker.land(flight)
        self.count("accepted" if entry.accepted else "void")
        self.say(
            lambda: f"{self._named(flight)} lands at {flight.partition}/{entry.offset}: {_judged(entry.accepted)}"
        )
        for instance in self.instances:
            instance.keep_a_copy()

    def _over(self, flight: Flight, how: str) -> None:
        self.broker.flights.remove(flight)
        self.say(lambda: f"{self._named(flight)} {how}")

    def _tell(self, flight: Flight, ack: Ack | None) -> None:
        if flight.delivery.told:
            return
        flight.delivery.tell(ack, None if ack else LogUnavailable("not acknowledged in time"))

    @staticmethod
    def _named(flight: Flight) -> str:
        said = {name: value.decode() for name, value in flight.headers}
        kind = said["type"].split(".")[2]
        return f"{said['id']} ({kind} of {flight.key.decode()}, {said['commandid']}, v{said['streamversion']})"

    # ---------------------------------------------------------------------------------------------- faults

    def _fault(self) -> None:
        random, mood = self.random, self.mood
        if random.random() < mood.cuts:
            self._cut(pick(random, self.broker.logs))
            return
        instance = pick(random, self.instances)
        if mood.restless and random.random() < 0.6:
            self.crash(instance)
            return
        dice = random.random()
        if dice < 0.35:
            if self.judge.live:
                instance.deadline(pick(random, self.judge.live))
        elif dice < 0.6:
            if random.random() < mood.crashes:
                self.crash(instance)
        elif dice < 0.8:
            instance.frozen_until = self.step + random.randint(5, 40)
            self.say(lambda: f"{instance} freezes until step {instance.frozen_until}")
        elif random.random() < mood.strays:
            self._stray()

    def crash(self, instance: Instance) -> None:
        """The process dies: what it had in memory is gone, what it had sent may still land."""
        self.count("crash")
        instance.crash()
        state = instance.restart_state()
        self.say(lambda: f"{instance} dies and will start with its heads {state}")

    def after_start(self, instance: Instance, positions: Mapping[int, int]) -> None:
        """The worst moment to lose the end of the log: a kept file was found to fit it, and nothing is read yet."""
        kept = [log for log in self.broker.logs if positions[log.partition]]
        choices = kept if self.mood.restless else self.broker.logs
        share = 0.8 if self.mood.restless else self.mood.cuts / 2
        if choices and self.step < self.mood.steps and self.mood.cuts and self.random.random() < share:
            instance.frozen_until = self.step + self.random.randint(0, 30)
            self._cut(pick(self.random, choices))

    def _cut(self, log: Reference) -> None:
        """A new leader, who may not have the end of the log."""
        records = min(log.end, pick(self.random, (0, 1, 1, 2, 4)))
        self.broker.cut(log.partition, records)
        if self.random.random() < 0.5:
            for flight in self.broker.flights:  # whoever sends them has to find the new leader first
                flight.held_until = self.step + self.random.randint(0, 30)
        self.count("cut" if records else "new leader")
        self.say(lambda: f"partition {log.partition} has a new leader, and loses {records}: it ends at {log.end}")

    def _stray(self) -> None:
        """Something lands that no writer would send there."""
        flights = self.broker.flights
        partition = self.random.randrange(self.broker.partitions)
        if flights and self.mood.forged:
            flight = pick(self.random, flights)
            forged = {"commandid": b"forged-%d" % self.step, "requesthash": b"h-forged"}
            copy = Flight(flight.partition, flight.key, [(n, forged.get(n, v)) for n, v in flight.headers])
            partition = flight.partition
            self.say(lambda: f"a forged event lands under the id of {self._named(flight)}")
        elif flights and self.random.random() < 0.6:
            flight = pick(self.random, flights)
            # Where the partition is its own, this is a duplicate.
            copy = Flight(partition, flight.key, flight.headers, flight.premise)
            self.say(lambda: f"a stray copy of {self._named(flight)} lands in partition {partition}")
        else:
            copy = Flight(partition, pick(self.random, (b"", b"job-0")), [("type", b"garbage")])
            self.say(lambda: f"garbage lands in partition {partition}")
        self.broker.land(copy)
        self.count("stray")

    # --------------------------------------------------------------------------------------------- the end

    def _heal(self) -> None:
        """No more faults: everything is answered, and every command that has no answer yet gets one."""
        self.say(lambda: "all is well from here on")
        self._settle()
        self.clients.ask_again_what_is_open()
        self._settle()
        if left := self.clients.open_commands():
            raise Violation(f"no answer was to be had for {left[0]}, though all was well")

    def _settle(self) -> None:
        for _ in range(_HEALING_STEPS_MAX):
            self.step += 1
            busy = False
            for instance in self.instances:
                instance.frozen_until = 0
                instance.heal()
                while instance.go_on():
                    busy = True
            for flight in list(self.broker.flights):
                busy = True
                if not flight.landed:
                    self._land(flight)
                self._over(flight, f"is acknowledged at offset {flight.landed[0].offset}")
                self._tell(flight, Ack(flight.partition, flight.landed[0].offset))
            if not busy and not self.judge.live:
                return
            if not busy:  # what was lost on its way, or never acknowledged, only a deadline can end
                for instance in self.instances:
                    for request in self.judge.live:
                        instance.deadline(request)
        raise Violation(f"nothing comes to rest: {[str(r) for r in self.judge.live]}")

    def _compare(self) -> None:
        """All instances, and a fold that begins at offset 0, know the same."""
        names = self.clients.job_ids
        fresh = Instance(self, len(self.instances), 1, in_memory=True)
        self.instances.append(fresh)
        fresh.start()
        self._settle()
        for instance in self.instances:
            assert instance.heads is not None
            if dict(instance.heads.positions()) != {log.partition: log.end for log in self.broker.logs}:
                raise Violation(f"{instance} stands at {instance.heads.positions()}")
            self.judge.same_heads(instance, {name: instance.heads.get(name) for name in names})
        self.judge.counts["after the window"] += sum(log.doubled for log in self.broker.logs)


def _judged(accepted: bool | None) -> str:
    return {True: "accepted", False: "void", None: "no event"}[accepted]
