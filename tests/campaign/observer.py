"""A reader of its own that follows the jobs' log while clients write, and knows when it saw what."""

import json
import threading
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from time import monotonic
from typing import Any

from campaign.history import LogRecord
from campaign.logfold import LogFold, Story, fold, partition_of
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.errors import LogUnavailable

_POLL_S = 0.05
_BATCH_RECORDS = 2_000
_ASK_TIMEOUT_S = 5.0
_ELECTED_TIMEOUT_S = 40.0
_DATA = ("labels", "execute", "parameters")


class Observer:
    """Follows the topic from its start in a thread. It knows nothing of heads and tails: see `logfold`."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._log = KafkaLog(kafka, topic)
        self.partitions = self._log.partitions
        self._fold = LogFold(self.partitions)
        self._records: dict[tuple[int, int], LogRecord] = {}
        self._positions = dict.fromkeys(range(self.partitions), 0)
        self._failure: BaseException | None = None
        self._moved = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="observer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._log.close(2.0)

    def at_rest(self, timeout_s: float) -> list[str]:
        """Waits until no job is queued or running; the jobs that still are when the time is up."""
        until = monotonic() + timeout_s
        with self._moved:
            while self._fold.active and self._failure is None and monotonic() < until:
                self._moved.wait(until - monotonic())
            return sorted(self._fold.active)

    def story(self, job_id: str) -> Story:
        """What has become of a job, once all that the log holds now has been read. Raises LogUnavailable."""
        partition = partition_of(job_id, self.partitions)
        end, until = self._log.end_offset(partition, _ASK_TIMEOUT_S), monotonic() + _ASK_TIMEOUT_S
        with self._moved:
            while self._positions[partition] < end:
                if self._failure is not None or not self._moved.wait(until - monotonic()):
                    raise LogUnavailable(f"the observer does not follow: {self._failure}")
            return deepcopy(self._fold.stories.get(job_id, Story(job_id)))

    def ends(self) -> Mapping[int, int]:
        """The end offset of each partition; waits for leaders that are being elected. Raises LogUnavailable."""
        return {p: self._log.end_offset(p, _ELECTED_TIMEOUT_S) for p in range(self.partitions)}

    def read_again(self, begin: Mapping[int, int]) -> tuple[list[LogRecord], list[str]]:
        """The log as it stands now, from `begin` on, with the times at which each record was first seen; and what
        it held once and does not any more. Raises LogUnavailable."""
        ends = self.ends()
        records: list[LogRecord] = []
        open_ends = {p: end for p, end in ends.items() if end > begin[p]}
        reader = self._log.follow({p: begin[p] for p in open_ends})
        until = monotonic() + 60
        try:
            while open_ends:
                if monotonic() > until:
                    raise LogUnavailable("the log could not be read again in time")
                for record in reader.poll(_POLL_S, _BATCH_RECORDS):
                    if record.offset < ends[record.partition]:
                        records.append(_kept(record))
                    if record.offset + 1 >= ends[record.partition]:
                        open_ends.pop(record.partition, None)
        finally:
            reader.close()
        with self._moved:
            seen = dict(self._records)
        now = {(r.partition, r.offset): r for r in records}
        lost = [f"observing ended: {self._failure}"] if self._failure else []
        for place, held in seen.items():
            if place[1] >= begin[place[0]] and now.get(place, held).headers != held.headers:
                lost.append(f"partition {place[0]} offset {place[1]} held {dict(held.headers)}")
            elif place[1] >= ends[place[0]]:
                lost.append(f"partition {place[0]} ends at {ends[place[0]]} and had reached {place[1] + 1}")
        return [replace(r, seen_s=seen[place].seen_s) if place in seen else r for place, r in now.items()], lost

    def forget(self, begin: Mapping[int, int]) -> None:
        """Forgets the records before `begin`, to keep a long campaign small. No job may reach over it."""
        with self._moved:
            self._records = {place: r for place, r in self._records.items() if place[1] >= begin[place[0]]}
            self._fold = fold(self._records.values(), self.partitions)

    def _follow(self) -> None:
        try:
            reader = self._log.follow(self._positions)
            try:
                while not self._stopping.is_set():
                    for record in reader.poll(_POLL_S, _BATCH_RECORDS):
                        self._hear(record)
            finally:
                reader.close()
        except BaseException as error:
            with self._moved:
                self._failure = error
                self._moved.notify_all()

    def _hear(self, record: Record) -> None:
        with self._moved:
            kept = _kept(record, monotonic())
            self._records[record.partition, record.offset] = kept
            self._positions[record.partition] = record.offset + 1
            self._fold.add(kept)
            self._moved.notify_all()


def _kept(record: Record, seen_s: float | None = None) -> LogRecord:
    data: dict[str, Any] = {}
    try:
        said = json.loads(record.value or b"{}")["data"]
        data = {name: said[name] for name in _DATA if name in said}
        data |= {"parameters": said["spec"]["parameters"]} if "spec" in said else {}
    except (ValueError, KeyError, TypeError):
        pass  # what the checker needs and does not find, it reports
    return LogRecord(
        partition=record.partition,
        offset=record.offset,
        key=(record.key or b"").decode("utf-8", "replace"),
        headers={name: value.decode("utf-8", "replace") for name, value in record.headers},
        data=data,
        timestamp_ms=record.timestamp_ms,
        seen_s=seen_s,
    )
