"""An app under the real server, for test_http_server.py: `tiny_service.py PORT`."""

import sys
from collections.abc import Iterator
from dataclasses import replace

from flask import Flask, Response, request, stream_with_context

from darkroom.runtime.http.api import PREFIX, Blueprint, end_when, make_app, on_close
from darkroom.runtime.http.receiving import Limits
from darkroom.runtime.http.server import serve, stopping
from darkroom.runtime.http.strictjson import read_body, read_json
from darkroom.runtime.settings import read_settings
from darkroom.runtime.telemetry import configure_logging

LIMITS = Limits(stall_s=0.5, head_s=0.8, request_s=1.2, rate_bytes_s=2**20) if "short" in sys.argv else Limits()


def make() -> Flask:
    if sys.argv[2:] == ["broken"]:
        raise RuntimeError("cannot start")
    settings = replace(read_settings(), body_size_bytes_max=1000)
    app, api = make_app("tiny", "Query", "Tiny.", settings.query_url, settings, lambda: None, import_name=__name__)
    routes = Blueprint("tiny", __name__)

    @routes.route("/size", methods=["POST"])
    def size() -> dict[str, int]:
        return {"size_bytes": len(read_body(request))}

    @routes.route("/json", methods=["POST"])
    def echo() -> dict[str, object]:
        return {"json": read_json(request)}

    failures: list[str] = []
    end_when(app, lambda: failures[0] if failures else None)

    @app.post("/fail")
    def fail() -> dict[str, object]:
        failures.append("a part has stopped")
        return {}

    @app.get("/stream")
    def stream() -> Response:
        @stream_with_context
        def lines() -> Iterator[str]:
            yield "begun\n"
            stopping.wait(float(request.args.get("quiet_s", 0)))
            yield "still here\n"
            stopping.wait(60)
            yield "ended\n"

        return Response(lines(), mimetype="text/plain")

    api.register_blueprint(routes, url_prefix=PREFIX)
    on_close(app, lambda: print("closed", file=sys.stderr, flush=True))
    return app


if __name__ == "__main__":
    configure_logging("json", "tiny")
    serve(make, "127.0.0.1", int(sys.argv[1]), 8, 20, LIMITS)
