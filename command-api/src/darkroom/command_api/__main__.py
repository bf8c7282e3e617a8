"""The command API as a service: chooses the adapters, and runs under gunicorn."""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from flask import Flask

from darkroom.command_api.app import Parts, create_app
from darkroom.command_api.endings import Endings
from darkroom.command_api.readiness import failure_of, readiness_of
from darkroom.runtime import metrics
from darkroom.runtime.blobs import open_blobs
from darkroom.runtime.catalogue import Catalogue
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.eventlog.topics import ensure_all_topics
from darkroom.runtime.heads import Folded, HeadStore
from darkroom.runtime.headscopy import HeadCopies, HeadsCopier
from darkroom.runtime.heap import return_large_buffers
from darkroom.runtime.http.api import end_when, on_close
from darkroom.runtime.http.server import serve, stopping
from darkroom.runtime.settings import Settings, SettingsError, read_settings
from darkroom.runtime.tail import Tail
from darkroom.runtime.telemetry import configure_logging
from darkroom.runtime.writer import JobWriter, ModelWriter
from darkroom.schemas.errors import StoreUnavailable

_log = logging.getLogger("darkroom.command_api")
_INSTANCES_MAX = 16
_FLUSH_TIMEOUT_S = 1.0


def build(settings: Settings) -> Flask:
    """The app on Kafka and the configured blob store. Called in the server's worker: no client crosses a fork.

    Raises LogUnavailable, StoreUnavailable or ValueError if a part cannot be had within the start's time-out.
    """
    return_large_buffers()
    ensure_all_topics(settings)
    job_log = KafkaLog(
        settings.kafka,
        settings.topic_jobs,
        delivery_timeout_s=settings.request_deadline_s,
        connect_timeout_s=settings.start_timeout_s,
    )
    model_log = KafkaLog(
        settings.kafka,
        settings.topic_models,
        delivery_timeout_s=settings.request_deadline_s,
        connect_timeout_s=settings.start_timeout_s,
    )
    blobs = open_blobs(settings)
    endings = Endings(max(1, settings.http_threads // 4), stopping)
    copies = HeadCopies(blobs, settings.start_timeout_s / 2)
    heads, heads_path = _open_heads(settings.data / "command-api", job_log, endings.heard, copies)
    copier = HeadsCopier(heads, heads_path, copies, settings.heads_copy_events)
    metrics.HEADS.set_function(heads.count)
    metrics.HEADS_SIZE_BYTES.set_function(heads.size_bytes)
    catalogue = Catalogue(model_log)
    job_tail = Tail(job_log, heads, "jobs")
    model_tail = Tail(model_log, catalogue, "models")
    app = create_app(
        settings,
        Parts(
            job_log=job_log,
            model_log=model_log,
            jobs=JobWriter(job_log, job_tail, heads),
            models=ModelWriter(model_log, model_tail, catalogue),
            blobs=blobs,
            readiness=readiness_of([(job_log, job_tail), (model_log, model_tail)], blobs),
            endings=endings,
        ),
    )
    end_when(app, partial(failure_of, (job_tail, model_tail)))
    end_when(app, heads.failure)
    on_close(app, heads.close)
    for log in (job_log, model_log):
        on_close(app, partial(log.close, _FLUSH_TIMEOUT_S))
    for tail in (job_tail, model_tail):
        on_close(app, tail.stop)
        tail.start()
    on_close(app, copier.stop)
    copier.start()
    return app


def _open_heads(
    folder: Path, log: EventLog, on_folded: Callable[[Sequence[Folded]], None], copies: HeadCopies
) -> tuple[HeadStore, Path]:
    """The first heads file that no other instance holds: instances may share the folder, never a file."""
    for instance in range(_INSTANCES_MAX):
        path = folder / f"heads-{instance}.sqlite"
        try:
            return HeadStore(path, log, on_folded, copies), path
        except StoreUnavailable as error:
            _log.info("heads file %d: %s", instance, error)
    raise StoreUnavailable(f"{_INSTANCES_MAX} instances hold the heads files in {folder}")


def main() -> None:
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.exit(f"darkroom command-api: {error}")
    configure_logging(settings.log, "command-api")
    serve(
        lambda: build(settings),
        settings.bind,
        settings.command_port,
        settings.http_threads,
        settings.start_timeout_s,
        answer_s=settings.request_deadline_s + 1,
    )


if __name__ == "__main__":
    main()
