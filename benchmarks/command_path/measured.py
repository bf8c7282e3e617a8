"""What one client measured in one go, as it is handed from process to process."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """`count` commands accepted in `took_s`; `cpu_s` is the client's own; p50 and p99 in milliseconds. `refused`:
    answered with 503, and counted nowhere else."""

    count: int
    took_s: float
    cpu_s: float
    p50_ms: float
    p99_ms: float
    refused: int = 0

    @classmethod
    def of(cls, latencies_s: Sequence[float], took_s: float, cpu_s: float, refused: int = 0) -> "Measured":
        ms = sorted(s * 1000 for s in latencies_s)
        count = len(ms)
        return cls(count, took_s, cpu_s, ms[count // 2], ms[min(count - 1, int(count * 0.99))], refused)

    @property
    def rate(self) -> float:
        """Commands per second."""
        return self.count / self.took_s

    def tell(self) -> None:
        """Hands it to the process that started this one."""
        json.dump(asdict(self), sys.stdout)

    @classmethod
    def heard(cls, text: str) -> "Measured":
        return cls(**json.loads(text))
