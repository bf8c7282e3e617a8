"""An event log in memory, for unit tests. It passes the same conformance suite as Kafka."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from threading import Condition
from time import monotonic

from darkroom.runtime.eventlog.port import Ack, Reader, Record
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import Headers


class MemoryLog:
    """Partitions as lists. `available = False` makes every call fail as a broker that is away would."""

    def __init__(self, partitions: int = 4, topic_id: str = "memory") -> None:
        self._records: list[list[Record]] = [[] for _ in range(partitions)]
        self._changed = Condition()
        self._topic_id = topic_id
        self._epoch = 0
        self.available = True

    @property
    def topic_id(self) -> str:
        return self._topic_id

    @property
    def partitions(self) -> int:
        return len(self._records)

    def append(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None = None,
    ) -> Future[Ack]:
        self._check()
        future: Future[Ack] = Future()
        with self._changed:
            log = self._records[partition]
            given = [(name, header or b"") for name, header in headers]
            log.append(Record(partition, len(log), key, value, given, timestamp_ms or 0, self._epoch))
            future.set_result(Ack(partition, len(log) - 1))
            self._changed.notify_all()
        return future

    def end_offset(self, partition: int, timeout_s: float) -> int:
        self._check()
        return len(self._records[partition])

    def first_offset(self, partition: int, timeout_s: float) -> int:
        self._check()
        return 0

    def offset_at(self, partition: int, timestamp_ms: int, timeout_s: float) -> int:
        self._check()
        log = self._records[partition]
        return next((r.offset for r in log if r.timestamp_ms >= timestamp_ms), len(log))

    def read_one(self, partition: int, offset: int, timeout_s: float) -> Record:
        self._check()
        if offset >= len(self._records[partition]):
            raise LogUnavailable(f"no record at offset {offset} of partition {partition}")
        return self._records[partition][offset]

    def follow(self, positions: Mapping[int, int], epochs: Mapping[int, int] | None = None) -> Reader:
        for partition, epoch in (epochs or {}).items():
            before = self._records[partition][: positions[partition]]
            if len(before) < positions[partition] or (before and before[-1].leader_epoch != epoch):
                raise LogUnavailable(f"partition {partition} was cut before position {positions[partition]}")
        return _MemoryReader(self, dict(positions))

    def cut(self, partition: int, end: int) -> None:
        """Loses what stands at `end` and behind it; what is appended next has a higher epoch."""
        with self._changed:
            del self._records[partition][end:]
            self._epoch += 1
            self._changed.notify_all()

    def close(self, timeout_s: float) -> None:
        pass

    def _check(self) -> None:
        if not self.available:
            raise LogUnavailable("the log in memory was made unavailable")


class _MemoryReader:
    def __init__(self, log: MemoryLog, positions: dict[int, int]) -> None:
        self._log = log
        self._positions = positions

    def poll(self, timeout_s: float, records_max: int) -> Sequence[Record]:
        until = monotonic() + timeout_s
        with self._log._changed:
            while True:
                found = self._take(records_max)
                left = until - monotonic()
                if found or left <= 0:
                    return found
                self._log._changed.wait(left)

    def _take(self, records_max: int) -> list[Record]:
        found: list[Record] = []
        for partition, position in self._positions.items():
            log = self._log._records[partition]
            if position > len(log):
                raise LogUnavailable(f"position {position} of partition {partition} is beyond its end")
            taken = log[position : position + records_max - len(found)]
            self._positions[partition] = position + len(taken)
            found += taken
        return found

    def ends(self) -> Mapping[int, int]:
        return {partition: len(self._log._records[partition]) for partition in self._positions}

    def close(self) -> None:
        pass
