"""Which running attempts have shown no sign of life for too long. Pure: times are passed in.

An executor that dies, or that could not publish how an attempt ended, leaves it running in the log. The owner of
the partition ends such an attempt once it has seen no sign of life for `lease_s`, by its own monotonic clock, so no
two clocks are ever compared. Signs of life name attempts, not executors: that an executor lives says nothing about
an attempt that it has given up.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttemptKey:
    """One attempt at a run of a job."""

    job_id: str
    run: int
    attempt: int


@dataclass(slots=True)
class _Lease:
    sign_offset: int
    sign_s: float
    lease_s: float


class Leases:
    """When each watched attempt last gave a sign of life."""

    def __init__(self, lease_s: float) -> None:
        """`lease_s` holds until a heartbeat states a longer one."""
        self._lease_s = lease_s
        self._leases: dict[AttemptKey, _Lease] = {}

    def watch(self, key: AttemptKey, sign_offset: int, now_s: float) -> None:
        """Watches an attempt whose last event stands at `sign_offset`; a later one is a sign of life."""
        lease = self._leases.setdefault(key, _Lease(sign_offset, now_s, self._lease_s))
        if lease.sign_offset != sign_offset:
            lease.sign_offset, lease.sign_s = sign_offset, now_s

    def sign_of_life(self, key: AttemptKey, lease_s: float, now_s: float) -> None:
        """A heartbeat that names the attempt; of one that is not watched nothing is kept."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.sign_s, lease.lease_s = now_s, max(self._lease_s, lease_s)

    def keep_only(self, keys: Iterable[AttemptKey]) -> None:
        """Forgets attempts that ended or that are no longer ours to watch."""
        keep = set(keys)
        self._leases = {key: lease for key, lease in self._leases.items() if key in keep}

    def expired(self, now_s: float) -> list[AttemptKey]:
        """Attempts whose lease has run out."""
        return [key for key, lease in self._leases.items() if now_s - lease.sign_s > lease.lease_s]
