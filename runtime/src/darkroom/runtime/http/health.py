"""`/health/live`, `/health/ready` and `/metrics`, outside the prefix."""

from flask import Flask, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.lifecycle import Readiness


def register(app: Flask, readiness: Readiness) -> None:
    """Liveness says only that the process answers; readiness asks `readiness`."""

    @app.get("/health/live")
    def live() -> Response:
        return jsonify({"status": "live"})

    @app.get("/health/ready")
    def ready() -> Response:
        reason = readiness()
        if reason:
            raise ProblemError("not-ready", reason, headers={"Retry-After": "1"})
        return jsonify({"status": "ready"})

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)
