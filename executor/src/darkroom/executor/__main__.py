"""The executor as a service: follows the log, runs models, appends results."""

import logging
import os
import socket
import sys
from contextlib import suppress

from darkroom.executor.artifacts import ArtifactCache
from darkroom.executor.follow import Follower
from darkroom.executor.heartbeat import Heartbeats
from darkroom.executor.models import ModelFiles
from darkroom.executor.pool import make_pool
from darkroom.executor.runner import Runner
from darkroom.runtime import metrics
from darkroom.runtime.blobs import open_blobs
from darkroom.runtime.catalogue import Catalogue
from darkroom.runtime.eventlog.kafka import KafkaLog, Membership
from darkroom.runtime.eventlog.topics import ensure_all_topics
from darkroom.runtime.heads import HeadsFileLost, HeadStore
from darkroom.runtime.headscopy import HeadCopies
from darkroom.runtime.ids import new_id
from darkroom.runtime.lifecycle import serve_health, stop_on_signals
from darkroom.runtime.settings import Settings, SettingsError, read_settings
from darkroom.runtime.tail import Tail
from darkroom.runtime.telemetry import configure_logging
from darkroom.runtime.writer import JobWriter

_log = logging.getLogger("darkroom.executor")

_GRACE_S = 6.0
_TURN_S = 0.2


def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises Unavailable if the log cannot be reached at the start."""
    stopping = stop_on_signals()
    executor = f"{socket.gethostname()}-{os.getpid()}-{new_id()[-6:]}"
    ensure_all_topics(settings)
    jobs = KafkaLog(settings.kafka, settings.topic_jobs, delivery_timeout_s=settings.request_deadline_s)
    models = KafkaLog(settings.kafka, settings.topic_models)
    beats = KafkaLog(settings.kafka, settings.topic_heartbeats)
    blobs = open_blobs(settings)

    catalogue = Catalogue(models)
    models_tail = Tail(models, catalogue, "models")
    follower: Follower
    heads = HeadStore(
        settings.data / "heads.sqlite",
        jobs,
        on_folded=lambda events: follower.folded(events),
        copies=HeadCopies(blobs, settings.start_timeout_s / 2),
    )
    metrics.HEADS.set_function(heads.count)
    metrics.HEADS_SIZE_BYTES.set_function(heads.size_bytes)
    jobs_tail = Tail(jobs, heads, "jobs")
    runner = Runner(
        jobs,
        JobWriter(jobs, jobs_tail, heads),
        blobs,
        ModelFiles(catalogue, blobs, ArtifactCache(settings.data / "artifacts")),
        make_pool(
            settings.data / "scratch",
            litert_children=settings.executor_workers,
            pixels_max=settings.picture_pixels_max,
        ),
        executor=executor,
        lease_s=settings.lease_s,
    )
    follower = Follower(
        jobs,
        jobs_tail,
        heads,
        runner,
        Heartbeats(beats, executor, settings.lease_s, settings.start_timeout_s),
        workers=settings.executor_workers,
        lease_s=settings.lease_s,
    )
    models_tail.start()
    jobs_tail.start()
    membership = Membership(
        settings.kafka,
        settings.topic_jobs,
        f"darkroom-executor.{settings.topic_jobs}",  # a group per topic: two logs on one broker stay apart
        on_assigned=follower.assigned,
        on_revoked=follower.revoked,
    )

    def readiness() -> str | None:
        for tail in (jobs_tail, models_tail):
            if tail.failure is not None:
                return f"a tail has stopped: {tail.failure}"
        return heads.failure()

    health = serve_health(settings.bind, settings.health_port, readiness)
    _log.info("executor %s is ready", executor)
    try:
        while not stopping.is_set() and readiness() is None:
            membership.poll(0)
            with suppress(HeadsFileLost):  # readiness tells
                follower.turn(membership.commit)
            follower.wait(_TURN_S)
    finally:
        _log.info("executor %s stops", executor)
        follower.close(_GRACE_S)
        membership.close()
        for tail in (jobs_tail, models_tail):
            tail.stop()
        for log in (jobs, models, beats):
            log.close(2.0)
        heads.close()
        if health is not None:
            health.shutdown()
    reason = readiness()
    if reason is not None:
        raise SystemExit(reason)


def main() -> None:
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.exit(f"darkroom executor: {error}")
    configure_logging(settings.log, "executor")
    serve(settings)


if __name__ == "__main__":
    main()
