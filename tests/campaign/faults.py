"""What is done to the fleet during a round: a seeded schedule, and the hand that carries it out."""

import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic

from campaign.fleet import Fleet, Part

FAILPOINTS = ("writer-before-produce", "writer-after-produce", "writer-after-ack", "writer-before-answer")
_NTH_MAX = 5
_LATE = 0.85
"""Faults happen in this part of a round."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At `at_s` seconds into the round, `what` happens to part number `which` of its kind, for `for_s` seconds.
    With a failpoint: before the load, the part is started as one that dies when it reaches that point."""

    at_s: float
    what: str
    which: int
    for_s: float = 0.0
    failpoint: str = ""

    def __str__(self) -> str:
        lasting = f" for {self.for_s:.1f} s" if self.for_s else ""
        return f"{self.at_s:.1f} s: {self.what} {self.which}{self.failpoint and ' ' + self.failpoint}{lasting}"


KINDS = {
    "api-failpoint": 5,
    "api-kill": 2,
    "api-term": 1,
    "api-freeze": 3,
    "executor-failpoint": 2,
    "executor-kill": 2,
    "executor-freeze": 2,
    "broker-term": 1,
    "broker-kill": 1,
    "broker-freeze": 1,
}
"""Kinds of fault, and how often one is chosen beside the others. With several brokers, the broker is the leader of
partition `which` at that moment."""


def schedule(seed: str, seconds: float, faults: int, *, replicas: int) -> list[Fault]:
    """The faults of a round, in the order of their times. At most one harms a broker: the truth keeps its
    majority."""
    rng = Random(f"faults {seed}")
    kinds = dict(KINDS)
    if replicas > 1:
        kinds |= {"broker-kill": 4, "broker-freeze": 2}
    found: list[Fault] = []
    while len(found) < faults:
        what = rng.choices(list(kinds), list(kinds.values()))[0]
        if what.startswith("broker") and any(fault.what.startswith("broker") for fault in found):
            continue
        freeze_s_max = 4.0 if what.startswith("broker") else 9.0  # an executor's partitions are others' after six
        found.append(
            Fault(
                at_s=0.0 if what.endswith("failpoint") else round(rng.uniform(0.05, _LATE) * seconds, 2),
                what=what,
                which=rng.randrange(12),
                for_s=round(rng.uniform(0.5, freeze_s_max), 1) if what.endswith("freeze") else 0.0,
                failpoint=f"{rng.choice(FAILPOINTS)}:{rng.randint(1, _NTH_MAX)}" if "failpoint" in what else "",
            )
        )
    return sorted(found, key=lambda fault: fault.at_s)


class Hand:
    """Carries faults out. Main thread only: the fleet's processes die with the thread that has started them."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._thaw: list[tuple[float, Part]] = []

    def arm(self, faults: Sequence[Fault]) -> None:
        """Starts the parts that are to die at failpoints (an API's own supervisor starts its worker again each
        time), and returns when all APIs are ready. Raises StackError."""
        for fault in faults:
            if fault.failpoint:
                part = self._part(fault)
                part.kill()
                part.start(DARKROOM_FAILPOINT=fault.failpoint)
        for api in self._fleet.apis:
            api.wait_ready()

    def carry_out(self, faults: Sequence[Fault], seconds: float, stopping: threading.Event) -> None:
        """Returns after `seconds`, or once `stopping` is set. Heal the fleet afterwards."""
        begin_s = monotonic()
        for fault in faults:
            if not fault.failpoint:
                self._wait_until(begin_s + fault.at_s, stopping)
                self._do(fault)
        self._wait_until(begin_s + seconds, stopping)

    def _wait_until(self, moment_s: float, stopping: threading.Event) -> None:
        """Thaws what is due meanwhile."""
        for thaw_s, part in sorted(self._thaw, key=lambda due: due[0]):
            if thaw_s <= moment_s:
                stopping.wait(max(0.0, thaw_s - monotonic()))
                part.signal(signal.SIGCONT)
                self._thaw.remove((thaw_s, part))
        stopping.wait(max(0.0, moment_s - monotonic()))

    def _do(self, fault: Fault) -> None:
        part = self._part(fault)
        match fault.what.partition("-")[2]:
            case "kill":
                part.kill()
                if (
                    part not in self._fleet.brokers or len(self._fleet.brokers) == 1
                ):  # of several, the others take over
                    part.start()
            case "term":
                part.stop()
                part.start()
            case "freeze":
                part.signal(signal.SIGSTOP)
                self._thaw.append((monotonic() + fault.for_s, part))
            case _:
                raise ValueError(f"unknown fault {fault.what}")

    def _part(self, fault: Fault) -> Part:
        fleet = self._fleet
        kind = fault.what.partition("-")[0]
        if kind == "broker":
            one = len(fleet.brokers) == 1
            return fleet.brokers[0] if one else fleet.leader(fault.which % fleet.settings.partitions)
        parts = fleet.apis if kind == "api" else fleet.executors
        return parts[fault.which % len(parts)]
