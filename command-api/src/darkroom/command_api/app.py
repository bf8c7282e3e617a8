"""The app of the command API: its parts, put together; `__main__` chooses the adapters."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask

from darkroom.command_api.answers import Addresses
from darkroom.command_api.endings import Endings
from darkroom.command_api.jobs import JobCommands
from darkroom.command_api.models import ModelCommands
from darkroom.command_api.queries import refuse_query
from darkroom.command_api.routes_jobs import job_routes
from darkroom.command_api.routes_media import media_routes
from darkroom.command_api.routes_models import model_routes
from darkroom.command_api.routes_positions import position_routes
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.decoding.decoder import PictureDecoder
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.http import bodies
from darkroom.runtime.http.api import PREFIX, make_app, on_close
from darkroom.runtime.media import MediaDoor
from darkroom.runtime.settings import Settings
from darkroom.runtime.writer import JobWriter, ModelWriter

_DESCRIPTION = """The write side of Darkroom. A command is answered with 202 once the log has acknowledged its event
and the event has taken effect; the query API shows it from then on under `urls.result`.

Every error is `application/problem+json` (RFC 9457); its `type` is described under `problems/{name}`.
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the app needs from outside. `readiness` tells why commands cannot be served now, or None."""

    job_log: EventLog
    model_log: EventLog
    jobs: JobWriter
    models: ModelWriter
    blobs: BlobStore
    readiness: Callable[[], str | None]
    endings: Endings


def create_app(settings: Settings, parts: Parts) -> Flask:
    """The Flask app. Connects to nothing."""
    app, api = make_app(
        "command-api",
        "Darkroom Command API",
        _DESCRIPTION,
        settings.command_url,
        settings,
        parts.readiness,
        import_name=__name__,
    )
    at = Addresses.of(settings)
    picture_size_bytes_max = settings.body_size_bytes_max
    # A quarter of the threads may hold large bodies, three eighths may wait for the decoder: whatever comes in,
    # small commands find a thread.
    room = bodies.Room(max(1, settings.http_threads // 4), 4 * settings.body_size_bytes_max)
    bodies.register(app, room, settings.body_size_bytes_max)
    decoder = PictureDecoder(
        pixels_max=settings.picture_pixels_max,
        size_bytes_max=picture_size_bytes_max,
        cpu_s=settings.picture_deadline_s,
        wait_s=settings.request_deadline_s,
        processes=settings.picture_decoders,
        waiting_max=max(1, settings.http_threads // 8),
    )
    on_close(app, decoder.close)
    door = MediaDoor(parts.blobs, picture_size_bytes_max, settings.picture_pixels_max, decoder)
    jobs = JobCommands(
        log=parts.job_log,
        writer=parts.jobs,
        models=parts.models,
        media=door,
        inputs_size_bytes_max=settings.inputs_size_bytes_max,
        deadline_s=settings.request_deadline_s,
        max_attempts=settings.max_attempts,
        endings=parts.endings,
    )
    models = ModelCommands(parts.models, parts.blobs, settings.request_deadline_s)
    logs = {settings.topic_jobs: parts.job_log, settings.topic_models: parts.model_log}
    for routes in (
        job_routes(jobs, at, picture_size_bytes_max),
        media_routes(door),
        model_routes(models, at, settings.data / "incoming", settings.model_size_bytes_max),
        position_routes(logs, settings.request_deadline_s),
    ):
        routes.before_request(refuse_query)
        api.register_blueprint(routes, url_prefix=PREFIX)
    return app
