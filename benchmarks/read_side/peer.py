"""The `eventsourcing` library (pyeventsourcing): the same events in its recorder, projected by its own means.

    python -m read_side.peer RECORDER EVENTS SEED [FOLDER_OR_PORT]

RECORDER: `popo` (plain Python objects in memory), `sqlite` (a file in a folder) or `postgres` (a server on a
port, which trusts the user "bench"). The events of the made-up traffic that count (the library knows no void
ones) are appended in batches, which is not measured; what is, is the projection of all of them. It folds as
`bare` does, with the minimal fold. Each event is one transaction of the view, as the library has it: it notes the
event's number, reads the job's document and writes it. Memory and PostgreSQL are read by the library's
ProjectionRunner; its SQLite recorder has no subscriptions, so there its NotificationLogReader gives the events to
the same Projection.
"""

import gc
import json
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import InfrastructureFactory, Tracking, TrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.system import NotificationLogReader
from eventsourcing.utils import Environment

from darkroom.projector.testing import bulk_traffic
from read_side.figures import Share, Watch
from read_side.minimal import Job, fold

_PARTITIONS = 8
_TIMEOUT_S = 900.0
_BATCH = 1_000


class JobEvent(DomainEvent):
    """One event of a job: the whole CloudEvent, as our log holds it."""

    cloud_event: dict[str, Any]


class Jobs(Application[UUID]):
    """Nothing but its recorder is used."""


class View(TrackingRecorder):
    """One document per job."""

    def change(self, tracking: Tracking, id: str, event: dict[str, Any]) -> None:
        """Folds one event into a job's document, and tracks it, together."""
        raise NotImplementedError

    def jobs(self) -> int:
        """How many there are."""
        raise NotImplementedError


def changed(job: Job | None, event: dict[str, Any], tracking: Tracking) -> Job:
    return fold(job, event, 0, tracking.notification_id)


class JobsProjection(Projection[View]):
    """Waits for `go`, and tells when the event `last` is in the view."""

    name = "jobsview"
    go = threading.Event()
    done = threading.Event()
    last = 0

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.go.wait()
        self.view.change(tracking, str(domain_event.originator_id), domain_event.cloud_event)
        if tracking.notification_id == self.last:
            self.done.set()


def view_of(recorder: str) -> type[Any]:
    """The view's class. Only what is used is imported: a driver may be missing."""
    if recorder == "popo":
        from eventsourcing.popo import POPOTrackingRecorder

        class MemoryView(POPOTrackingRecorder, View):
            def __init__(self) -> None:
                super().__init__()
                self.documents: dict[str, Job] = {}

            def change(self, tracking: Tracking, id: str, event: dict[str, Any]) -> None:
                with self._database_lock:
                    self._assert_tracking_uniqueness(tracking)
                    self._insert_tracking(tracking)
                    self.documents[id] = changed(self.documents.get(id), event, tracking)

            def jobs(self) -> int:
                return len(self.documents)

        return MemoryView
    if recorder == "sqlite":
        from eventsourcing.sqlite import SQLiteTrackingRecorder

        class SQLiteView(SQLiteTrackingRecorder, View):
            def construct_create_table_statements(self) -> list[str]:
                mine = "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, document TEXT) WITHOUT ROWID"
                return [*super().construct_create_table_statements(), mine]

            def change(self, tracking: Tracking, id: str, event: dict[str, Any]) -> None:
                with self.datastore.transaction(commit=True) as c:
                    self._insert_tracking(c, tracking)
                    c.execute("SELECT document FROM jobs WHERE id = ?", (id,))
                    found = c.fetchone()
                    job = changed(orjson.loads(found[0]) if found else None, event, tracking)
                    c.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?)", (id, orjson.dumps(job).decode()))

            def jobs(self) -> int:
                with self.datastore.transaction(commit=False) as c:
                    c.execute("SELECT COUNT(*) FROM jobs")
                    return int(c.fetchone()[0])

        return SQLiteView
    from eventsourcing.postgres import PostgresTrackingRecorder
    from psycopg.sql import SQL

    class PostgresView(PostgresTrackingRecorder, View):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            mine = SQL("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, document JSONB)")
            self.sql_create_statements.append(mine)

        def change(self, tracking: Tracking, id: str, event: dict[str, Any]) -> None:
            with self.datastore.transaction(commit=True) as c:
                self._insert_tracking(c, tracking)
                c.execute("SELECT document FROM jobs WHERE id = %s", (id,), prepare=True)
                found = c.fetchone()
                job = changed(found["document"] if found else None, event, tracking)
                c.execute(
                    "INSERT INTO jobs VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET document = EXCLUDED.document",
                    (id, json.dumps(job)),
                    prepare=True,
                )

        def jobs(self) -> int:
            with self.datastore.transaction() as c:
                c.execute("SELECT COUNT(*) AS jobs FROM jobs")
                found = c.fetchone()
                assert found
                return int(found["jobs"])

    return PostgresView


def counting(seed: int, events: int) -> Iterator[JobEvent]:
    """The events of the made-up traffic, without those that lost a race."""
    versions: dict[str, int] = {}
    for record in bulk_traffic(seed, events, _PARTITIONS):
        assert record.value is not None
        event = orjson.loads(record.value)
        key, version = event["subject"], event["streamversion"]
        if version == versions.get(key, 0) + 1:
            versions[key] = version
            yield JobEvent(
                originator_id=UUID(key), originator_version=version, timestamp=datetime.now(UTC), cloud_event=event
            )


def append(application: Jobs, seed: int, events: int) -> int:
    """Appends the events, and returns how many count."""
    source, count = counting(seed, events), 0
    while batch := list(islice(source, _BATCH)):
        application.events.put(batch)
        count += len(batch)
    return count


def environment(recorder: str, where: str) -> dict[str, str]:
    """The library's settings: its defaults, and where the data are."""
    found = {"PERSISTENCE_MODULE": f"eventsourcing.{recorder}"}
    if recorder == "postgres":
        own = {"HOST": "127.0.0.1", "PORT": where, "DBNAME": "postgres", "USER": "bench", "PASSWORD": "none"}
        found |= {f"POSTGRES_{name}": value for name, value in own.items()}
    if recorder == "sqlite":
        found["SQLITE_DBNAME"] = str(Path(where) / "peer.sqlite")
    return found


def by_runner(view: type[Any], seed: int, events: int) -> Share:
    """By a ProjectionRunner, which waits until all events are there."""
    with ProjectionRunner(application_class=Jobs, projection_class=JobsProjection, view_class=view) as runner:
        count = append(runner.app, seed, events)
        JobsProjection.last = runner.app.recorder.max_notification_id() or 0
        watch = Watch()
        JobsProjection.go.set()
        while not JobsProjection.done.wait(1.0):
            runner.run_forever(0)  # raises what the runner's thread has raised
        return watch.share(count, jobs=runner.view.jobs())


def by_reader(view: type[Any], seed: int, events: int) -> Share:
    """By a NotificationLogReader, in sections as large as the batches of a subscription."""
    application = Jobs()
    count = append(application, seed, events)
    JobsProjection.go.set()
    factory = InfrastructureFactory[Any].construct(Environment(JobsProjection.name, dict(os.environ)))
    projection = JobsProjection(factory.tracking_recorder(view))
    watch = Watch()
    for notification in NotificationLogReader(application.notification_log, section_size=500).read(start=1):
        tracking = Tracking(application.name, notification.id)
        projection.process_event(application.mapper.to_domain_event(notification), tracking)
    return watch.share(count, jobs=projection.view.jobs())


def empty_postgres(port: str) -> None:
    """Removes what an earlier round left."""
    import psycopg

    with psycopg.connect(
        host="127.0.0.1", port=int(port), dbname="postgres", user="bench", autocommit=True
    ) as made:
        made.execute("DROP SCHEMA public CASCADE")
        made.execute("CREATE SCHEMA public")


def main() -> None:
    recorder, events, seed, *where = sys.argv[1:]
    os.environ.update(environment(recorder, *(where or [""])))
    if recorder == "postgres":
        empty_postgres(*where)
    gc.freeze()
    gc.set_threshold(50_000)  # as the product does
    project = by_reader if recorder == "sqlite" else by_runner
    project(view_of(recorder), int(seed), int(events)).tell()


if __name__ == "__main__":
    main()
