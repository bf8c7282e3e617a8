"""Signs of life of executors, on a topic of their own with short retention.

In the jobs' stream they would bloat it and void cancels. A lost heartbeat costs nothing but time: an attempt that
was expired too early is tried again, and its late result is void.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import orjson
from cloudevents.core.bindings.kafka import to_structured_event
from cloudevents.core.v1.event import CloudEvent

from darkroom.executor.leases import AttemptKey
from darkroom.runtime.eventlog.port import EventLog, Reader
from darkroom.runtime.ids import new_id
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.eventdata import HEARTBEAT
from darkroom.schemas.wire import CONTENT_TYPE

_log = logging.getLogger("darkroom.heartbeat")

_PARTITION = 0
_RECORDS_MAX = 500


class Heartbeats:
    """Sends this executor's signs of life, and hears those of all."""

    def __init__(self, log: EventLog, executor: str, lease_s: float, timeout_s: float) -> None:
        """Listens from the topic's end on. Raises LogUnavailable."""
        self._eventlog = log
        self._executor = executor
        self._lease_s = lease_s
        self._reader: Reader = log.follow({_PARTITION: log.end_offset(_PARTITION, timeout_s)})

    def send(self, attempts: Iterable[AttemptKey]) -> None:
        """Says that these attempts are alive. Never waits, never raises for a broker that
        is away: the next one will do."""
        event = CloudEvent(
            {
                "id": new_id(),
                "source": f"urn:darkroom:executor:{self._executor}",
                "type": HEARTBEAT,
                "subject": self._executor,
                "time": datetime.now(UTC),
                "datacontenttype": "application/json",
                "dataschema": f"urn:darkroom:schema:{HEARTBEAT}",
                "partitionkey": self._executor,
            },
            {
                "executor": self._executor,
                "attempts": [{"job": a.job_id, "run": a.run, "attempt": a.attempt} for a in attempts],
                "lease_s": self._lease_s,
            },
        )
        value = to_structured_event(event).value
        try:
            self._eventlog.append(_PARTITION, self._executor.encode(), value, [("content-type", CONTENT_TYPE)])
        except LogUnavailable as error:
            _log.warning("no sign of life could be sent: %s", error)

    def heard(self) -> Sequence[tuple[AttemptKey, float]]:
        """The attempts that gave a sign of life since the last call, each with its lease in seconds. Raises
        LogUnavailable."""
        found: list[tuple[AttemptKey, float]] = []
        for record in self._reader.poll(0, _RECORDS_MAX):
            try:
                data = orjson.loads(record.value or b"")["data"]
                lease_s = float(data["lease_s"])
                for alive in data["attempts"]:
                    found.append((AttemptKey(str(alive["job"]), int(alive["run"]), int(alive["attempt"])), lease_s))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                _log.warning("offset %d of the heartbeats is no sign of life", record.offset)
        return found

    def close(self) -> None:
        self._reader.close()
