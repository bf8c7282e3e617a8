"""CORS: browsers at the configured origins, and at the two services' own, may use the APIs."""

from urllib.parse import urlsplit

from flask import Flask, Response, request

from darkroom.runtime.settings import Settings

_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_REQUEST_HEADERS = (
    "Accept, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, Traceparent, "
    "X-Request-Id"
)
_ANSWER_HEADERS = (
    "Allow, ETag, Link, Location, Preference-Applied, Retry-After, Traceparent, X-Request-Id, Content-Disposition"
)
_PREFLIGHT_AGE_S = 600


def allowed_origins(settings: Settings) -> frozenset[str]:
    """Origins that may call: the configured ones and both services' own (each one's Swagger UI calls the other).
    An origin on 127.0.0.1 stands for localhost too, and the other way round."""
    origins = {_origin(url) for url in (*settings.cors_origins, settings.command_url, settings.query_url)}
    twins = {o.replace("//127.0.0.1", "//localhost") for o in origins}
    twins |= {o.replace("//localhost", "//127.0.0.1") for o in origins}
    return frozenset(origins | twins)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else url


def register(app: Flask, settings: Settings) -> None:
    """Adds the headers to every answer. No credentials are ever allowed."""
    allowed = allowed_origins(settings)

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is None or not (origin in allowed or "*" in allowed):
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _ANSWER_HEADERS
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_AGE_S)
        return response
