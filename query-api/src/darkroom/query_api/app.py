"""The app: routes and pages over a store and a blob store. Connects to nothing by itself."""

from flask import Flask, Response

from darkroom.query_api import pages
from darkroom.query_api.arguments import refuse_repeated
from darkroom.query_api.content import Blobs, Content
from darkroom.query_api.live import Waiting, Watcher
from darkroom.query_api.parts import Parts
from darkroom.query_api.present import Presenter
from darkroom.query_api.reading import ForeignPosition, Reader
from darkroom.query_api.routes import events, jobs, overview, pictures
from darkroom.query_api.store import Store
from darkroom.runtime.http.api import make_app
from darkroom.runtime.http.errors import problem_response
from darkroom.runtime.http.gate import places_of
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.settings import Settings
from darkroom.schemas.errors import StoreUnavailable

_DESCRIPTION = """\
The read side of Darkroom: jobs, their results and histories, models, statistics. It reads MongoDB only.

Every answer to a command carries a position; given back as `after`, it makes this API answer only once the read \
model has passed it. Live streams (Server-Sent Events) resume exactly with `Last-Event-ID`."""
_PLACES_FREE = 4
"""Places at the server's gate that are neither for waits nor for streams, so that plain reads always find one."""


def make_query_app(settings: Settings, store: Store, blobs: Blobs, watcher: Watcher) -> Flask:
    """The WSGI app. The caller starts and stops `watcher`."""

    def not_ready() -> str | None:
        try:
            store.ping()
            store.generation("jobs")
        except StoreUnavailable as error:
            return str(error)
        return None

    app, api = make_app(
        "query-api",
        "Darkroom Query API",
        _DESCRIPTION,
        settings.query_url,
        settings,
        not_ready,
        import_name=__name__,
    )
    held = max(2, places_of(settings.http_threads) - _PLACES_FREE)
    waiting = Waiting(waits_max=max(1, held // 2), streams_max=max(1, held // 2))
    parts = Parts(
        reader=Reader(store, watcher, waiting),
        content=Content(blobs),
        presenter=Presenter(settings.command_url, settings.query_url),
        public_url=settings.query_url,
        pixels_max=settings.picture_pixels_max,
    )
    app.before_request(refuse_repeated)

    @app.errorhandler(ForeignPosition)
    def foreign_position(_error: ForeignPosition) -> Response:
        return problem_response(
            ProblemError("malformed-position", "The position belongs to another log than the one read here.")
        )

    for routes in (jobs, events, pictures, overview):
        api.register_blueprint(routes.blueprint(parts))
    pages.register(app, settings)
    return app
