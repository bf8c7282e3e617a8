"""For tests of what decides against a log: records of events, a tail that can be held back, and a whole writer."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.ids import new_id
from darkroom.runtime.protocol import Accepted, Verdict
from darkroom.runtime.tail import Fold, Tail
from darkroom.runtime.writer import JobWriter
from darkroom.schemas import eventdata, job
from darkroom.schemas.chain import Guard, partition_of
from darkroom.schemas.wire import Context, encode

CONTEXT = Context("/darkroom/test", datetime(2026, 1, 1, tzinfo=UTC), "tester", "correlation", "cause")
TIMEOUT_S = 10.0


def append_event(
    log: EventLog, job_id: str, event: job.Event, version: int, prev_id: str, *, command_id: str = ""
) -> str:
    """Appends an event past every rule; returns its id."""
    run, attempt = job.run_and_attempt(event)
    guard = Guard(
        key=job_id,
        event_id=new_id(),
        type=eventdata.type_of(event),
        version=version,
        prev_id=prev_id,
        command_id=command_id or new_id(),
        request_hash="hash",
        tenant="default",
        run=run,
        attempt=attempt,
    )
    log.append(partition_of(job_id, log.partitions), *encode(guard, event, CONTEXT)).result(TIMEOUT_S)
    return guard.event_id


def append_chain(log: EventLog, job_id: str, *events: job.Event) -> list[str]:
    """Appends a job's events, each continuing the one before; returns their ids."""
    ids: list[str] = []
    for version, event in enumerate(events, 1):
        ids.append(append_event(log, job_id, event, version, ids[-1] if ids else ""))
    return ids


class HeldBack:
    """A fold that waits at a gate before it applies anything: a tail that lags. `open()` lets it go on."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._gate = threading.Event()

    def open(self) -> None:
        self._gate.set()

    def hold(self) -> None:
        self._gate.clear()

    def positions(self) -> Mapping[int, int]:
        return self._fold.positions()

    def epochs(self) -> Mapping[int, int]:
        return self._fold.epochs()

    def apply(self, records: Sequence[Record]) -> Sequence[Verdict]:
        if not self._gate.wait(TIMEOUT_S):
            raise TimeoutError("nobody opened the gate")
        return self._fold.apply(records)


class WriterInstance:
    """One instance of the write side: heads, tail and writer over a log that it may share with others."""

    def __init__(self, log: EventLog, path: Path | str = ":memory:", *, held_back: bool = False) -> None:
        self.log = log
        self.heads = HeadStore(path, log)
        self.gate = HeldBack(self.heads)
        if not held_back:
            self.gate.open()
        self.tail = Tail(log, self.gate, "test")
        self.writer = JobWriter(log, self.tail, self.heads)
        self.tail.start()

    def execute(
        self,
        job_id: str,
        command: job.Command,
        command_id: str = "",
        *,
        request_hash: str = "hash",
        timeout_s: float = TIMEOUT_S,
    ) -> Accepted:
        """As JobWriter.execute, for tenant `default`; with a `command_id` the command is keyed."""
        identity = job.Identity(command_id or new_id(), request_hash, "default", keyed=bool(command_id))
        return self.writer.execute(job_id, command, identity, CONTEXT, monotonic() + timeout_s)

    def caught_up(self) -> None:
        self.tail.caught_up(TIMEOUT_S)

    def close(self) -> None:
        self.gate.open()
        self.tail.stop()
        self.heads.close()

    def __enter__(self) -> "WriterInstance":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
