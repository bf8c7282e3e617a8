"""Which attempts of other executors have shown no sign of life for too long. Pure: times are passed in.

An executor that dies leaves its attempts running in the log. The owner of the partition ends such an attempt
`lease_s` after the last sign of life *it saw*, by its own monotonic clock, so no two clocks are ever compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttemptKey:
    """One attempt as the log shows it. `sign_offset`: its last event; a new one is a sign of life."""

    job_id: str
    run: int
    attempt: int
    sign_offset: int


@dataclass(slots=True)
class _Lease:
    executor: str
    lease_s: float
    since_s: float


class Leases:
    """Leases of attempts that run elsewhere, and when each executor last gave a sign of life."""

    def __init__(self) -> None:
        self._leases: dict[AttemptKey, _Lease] = {}
        self._signs_s: dict[str, float] = {}

    def knows(self, key: AttemptKey) -> bool:
        return key in self._leases

    def watch(self, key: AttemptKey, executor: str, lease_s: float, now_s: float) -> None:
        """Begins to watch an attempt; its lease runs from now."""
        self._leases.setdefault(key, _Lease(executor, lease_s, now_s))

    def sign_of_life(self, executor: str, now_s: float) -> None:
        self._signs_s[executor] = now_s

    def keep_only(self, keys: Iterable[AttemptKey]) -> None:
        """Forgets attempts that ended or that are no longer ours to watch, and executors without any."""
        keep = set(keys)
        self._leases = {key: lease for key, lease in self._leases.items() if key in keep}
        watched = {lease.executor for lease in self._leases.values()}
        self._signs_s = {e: s for e, s in self._signs_s.items() if e in watched}

    def expired(self, now_s: float) -> list[tuple[AttemptKey, str]]:
        """Attempts whose lease has run out, each with its executor."""
        return [
            (key, lease.executor)
            for key, lease in self._leases.items()
            if now_s - max(lease.since_s, self._signs_s.get(lease.executor, lease.since_s)) > lease.lease_s
        ]
