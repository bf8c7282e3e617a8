"""What Darkroom needs of a log, and nothing more. `conformance.py` holds every adapter to it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from darkroom.schemas.wire import Headers


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands in the log. `timestamp_ms`: milliseconds since 1970, as the producer set it.
    `leader_epoch` grows with each change of the partition's leader: a record that stands where a lost one stood
    has a higher one. -1 where the log does not tell."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    leader_epoch: int = -1


@dataclass(frozen=True, slots=True)
class Ack:
    """The broker has the record, for good. `offset` is None where the broker only said that it has it."""

    partition: int
    offset: int | None


class Reader(Protocol):
    """A position in some partitions that moves forward."""

    def poll(self, timeout_s: float, records_max: int) -> Sequence[Record]:
        """The next records, in order within each partition: what is there, or after at most `timeout_s`
        nothing. Raises LogUnavailable if a position is lost (never a silent jump)."""

    def ends(self) -> Mapping[int, int]:
        """The end of each partition as the log last told this reader; nothing is asked. Partitions that it has
        not heard of yet are left out. Any thread may call it, until the close."""

    def close(self) -> None:
        """Gives up the reader's connections."""


class EventLog(Protocol):
    """One topic with a fixed number of partitions."""

    @property
    def topic_id(self) -> str:
        """Identity of this very topic: another one after it was deleted and made again."""

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""

    def append(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None = None,
    ) -> Future[Ack]:
        """Appends a record. `timestamp_ms`: of a record that is older than this append (milliseconds since 1970, at
        least 1); otherwise it gets the time of now. The future raises LogUnavailable when the broker did not
        acknowledge it in time; whether it landed is then unknown. Raises LogUnavailable at once if too much is
        under way."""

    def end_offset(self, partition: int, timeout_s: float) -> int:
        """The offset that the next record will get, asked of the broker now. Raises LogUnavailable."""

    def first_offset(self, partition: int, timeout_s: float) -> int:
        """The offset of the first record that is still there. Raises LogUnavailable."""

    def offset_at(self, partition: int, timestamp_ms: int, timeout_s: float) -> int:
        """The offset of the first record whose time is not before `timestamp_ms` (milliseconds since 1970); the end
        where there is none. Times are the producers' and need not rise: what stands before it is older, what
        stands behind it may be too. Raises LogUnavailable."""

    def read_one(self, partition: int, offset: int, timeout_s: float) -> Record:
        """The record at an offset. Raises LogUnavailable (also if there is none)."""

    def follow(self, positions: Mapping[int, int], epochs: Mapping[int, int] | None = None) -> Reader:
        """A reader that starts at the given offset of each partition. `epochs`: the leader epoch of the record
        before it; where the log has been cut since, the reader raises LogUnavailable instead of going on."""

    def close(self, timeout_s: float) -> None:
        """Waits for what is under way, then gives up all connections."""
