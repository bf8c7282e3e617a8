"""Starts the query API: the composition root, the only place that chooses adapters."""

import sys

from flask import Flask

from darkroom.query_api.app import make_query_app
from darkroom.query_api.live import Watcher
from darkroom.query_api.store import Store
from darkroom.runtime.blobs import open_blobs
from darkroom.runtime.http.api import on_close
from darkroom.runtime.http.server import serve, stopping
from darkroom.runtime.settings import SettingsError, read_settings
from darkroom.runtime.telemetry import configure_logging


def main() -> int:
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"darkroom.query_api: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log, "query-api")

    def make() -> Flask:
        # In the worker, after the fork: none of these survives one.
        store = Store(settings.mongodb, settings.mongodb_database, settings.request_deadline_s)
        watcher = Watcher(store, stopping)
        app = make_query_app(settings, store, open_blobs(settings), watcher)
        watcher.start()
        on_close(app, store.close)
        on_close(app, watcher.stop)
        return app

    serve(
        make,
        settings.bind,
        settings.query_port,
        settings.http_threads,
        settings.start_timeout_s,
        answer_s=settings.request_deadline_s + 1,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
