"""What one case did in one round, and how the processes that worked for it tell their part."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import monotonic


def own_cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def resident_mb(field: str) -> float:
    """Resident memory of this process in MiB. VmRSS: now; VmHWM: at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


@dataclass(frozen=True, slots=True)
class Share:
    """What one process did: `events` between two moments of the machine's monotonic clock. `cpu_s`: its own time
    and that of its children. `more`: figures of one kind of case only."""

    begun: float
    ended: float
    cpu_s: float
    events: int
    more: dict[str, float] = field(default_factory=dict)

    def tell(self) -> None:
        """Hands it to the process that started this one."""
        json.dump(asdict(self), sys.stdout)

    @classmethod
    def heard(cls, text: str) -> "Share":
        return cls(**json.loads(text))


class Watch:
    """Measures this process from when it is made."""

    def __init__(self) -> None:
        self._begun, self._cpu_s = monotonic(), own_cpu_s()

    def share(self, events: int, **more: float) -> Share:
        return Share(self._begun, monotonic(), own_cpu_s() - self._cpu_s, events, more)


@dataclass(frozen=True)
class Figure:
    """One case in one round. `cpu_s`: processor time, by process."""

    events: int
    took_s: float
    cpu_s: Mapping[str, float]
    more: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, shares: Sequence[Share], servers_cpu_s: Mapping[str, float]) -> "Figure":
        """Of processes that worked side by side."""
        took_s = max(s.ended for s in shares) - min(s.begun for s in shares)
        more = {name: sum(s.more.get(name, 0.0) for s in shares) for share in shares for name in share.more}
        cpu_s = {"client": sum(s.cpu_s for s in shares), **servers_cpu_s}
        return cls(sum(s.events for s in shares), took_s, cpu_s, more)

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.took_s

    def us_per_event(self, process: str) -> float:
        """Processor time in microseconds per event."""
        return self.cpu_s.get(process, 0.0) / self.events * 1e6
