"""What a simulation has seen so far."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

LATENCIES_KEPT = 10_000
FINDINGS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of answers. `refused`: refused as expected. `unexpected`: any other answer than the right one,
    or none. Latencies in milliseconds, from when an action was due, over the last LATENCIES_KEPT."""

    elapsed_s: float
    sent: int
    accepted: int
    refused: int
    unexpected: int
    p50_ms: float
    p99_ms: float
    by_action: Mapping[str, int]
    findings: tuple[str, ...]

    @property
    def rate_per_s(self) -> float:
        return self.sent / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def line(self) -> str:
        """All of it on one line, for a log or a pipe."""
        return (
            f"{self.elapsed_s:.0f} s: sent {self.sent} ({self.rate_per_s:.1f}/s), accepted {self.accepted}, "
            f"refused as expected {self.refused}, unexpected {self.unexpected}, "
            f"p50 {self.p50_ms:.0f} ms, p99 {self.p99_ms:.0f} ms"
        )


class Counts:
    """Counts from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = monotonic()
        self._accepted = 0
        self._refused = 0
        self._unexpected = 0
        self._by_action: Counter[str] = Counter()
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._findings: deque[str] = deque(maxlen=FINDINGS_KEPT)

    def add(self, action: str, latency_s: float, *, accepted: bool, finding: str | None) -> None:
        """One action was answered. `finding`: why the answer is not the right one, if it is not."""
        with self._lock:
            self._by_action[action] += 1
            self._latencies_s.append(latency_s)
            if finding is not None:
                self._unexpected += 1
                self._findings.append(finding)
            elif accepted:
                self._accepted += 1
            else:
                self._refused += 1

    def summary(self) -> Summary:
        with self._lock:
            ordered = sorted(self._latencies_s)
            return Summary(
                elapsed_s=monotonic() - self._started,
                sent=self._accepted + self._refused + self._unexpected,
                accepted=self._accepted,
                refused=self._refused,
                unexpected=self._unexpected,
                p50_ms=1000 * quantile(ordered, 0.50),
                p99_ms=1000 * quantile(ordered, 0.99),
                by_action=dict(sorted(self._by_action.items())),
                findings=tuple(self._findings),
            )


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that at least `share` of the ordered values do not exceed; 0 for none."""
    if not ordered:
        return 0.0
    rank = max(1, -(-len(ordered) * share // 1))  # the ceiling
    return ordered[min(len(ordered), int(rank)) - 1]
