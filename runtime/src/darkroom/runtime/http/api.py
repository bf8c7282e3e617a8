"""The app factory of both HTTP services: a Flask app in which every answer keeps the contract."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from flask import Flask, Request, Response, jsonify
from flask_smorest import Api as SmorestApi  # type: ignore[import-untyped]
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import EXCLUDE, INCLUDE, RAISE, Schema, ValidationError, fields
from webargs.flaskparser import FlaskParser

from darkroom.runtime.http import cors, gate, health, observe, reference, swagger
from darkroom.runtime.http.errors import register_error_handlers
from darkroom.runtime.http.fields import invalid, pointers
from darkroom.runtime.http.forms import DoorRequest
from darkroom.runtime.http.problems import MEDIA_TYPE
from darkroom.runtime.http.strictjson import read_json
from darkroom.runtime.lifecycle import Readiness
from darkroom.runtime.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
PREFIX = "/api/v1/inference"
_TEXT_PART_SIZE_BYTES_MAX = 2**19
_PARTS_MAX = 120


class ErrorEntry(Schema):
    """One wrong field."""

    pointer = fields.String(
        required=True, metadata={"description": "`#/…` into the body, `?name` in the query, or a header"}
    )
    detail = fields.String(required=True)


class Problem(Schema):
    """A problem (RFC 9457)."""

    type = fields.String(required=True, metadata={"description": "stable URN; `problems/{name}` describes it"})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    errors = fields.List(fields.Nested(ErrorEntry))
    job_status = fields.String(metadata={"description": "where the job stands, when its state forbids a command"})

    class Meta:
        unknown = INCLUDE  # a type may have members of its own


class _Parser(FlaskParser):
    """Arguments of a route: strict JSON, unknown query parameters refused, errors as problems with pointers."""

    DEFAULT_UNKNOWN_BY_LOCATION: ClassVar[dict[str, str | None]] = {  # type: ignore[misc]
        "json": RAISE,
        "query": RAISE,
        "querystring": RAISE,
        "headers": EXCLUDE,
    }

    def load_json(self, req: Request, schema: Schema) -> Any:
        return read_json(req)

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **_: Any) -> Any:
        raise invalid(
            [
                (_pointer(location, pointer), detail)
                for location, messages in error.normalized_messages().items()  # type: ignore[no-untyped-call]
                for pointer, detail in pointers(messages, "#" if location == "json" else "")
            ]
        )


def _pointer(location: str, pointer: str) -> str:
    return f"?{pointer.removeprefix('/')}" if location in ("query", "querystring") else pointer


class _Response(Response):
    """Location is given whole; rewriting it would only cost time."""

    autocorrect_location_header = False


class _App(Flask):
    response_class = _Response

    def ensure_sync(self, func: F) -> F:
        """No view is a coroutine; Flask looks a dozen times in each request."""
        return func


class Blueprint(SmorestBlueprint):  # type: ignore[misc]  # flask-smorest has no types
    """A flask-smorest blueprint whose `arguments` are read strictly."""

    ARGUMENTS_PARSER = _Parser()

    # flask-smorest's decorators have no types; these give them one.

    def route(self, rule: str, **more: Any) -> Callable[[F], F]:
        decorator: Callable[[F], F] = super().route(rule, **more)
        return decorator

    def arguments(self, schema: Any, **more: Any) -> Callable[[F], F]:
        decorator: Callable[[F], F] = super().arguments(schema, **more)
        return decorator

    def response(self, status_code: int, schema: Any = None, **more: Any) -> Callable[[F], F]:
        decorator: Callable[[F], F] = super().response(status_code, schema, **more)
        return decorator

    def alt_response(self, status_code: int, response: Any = None, **more: Any) -> Callable[[F], F]:
        decorator: Callable[[F], F] = super().alt_response(status_code, response, **more)
        return decorator

    @staticmethod
    def doc(**more: Any) -> Callable[[F], F]:
        decorator: Callable[[F], F] = SmorestBlueprint.doc(**more)
        return decorator


class Api(SmorestApi):  # type: ignore[misc]  # flask-smorest has no types
    """flask-smorest, with errors left to our handlers and documented as application/problem+json."""

    ERROR_SCHEMA = Problem
    DEFAULT_RESPONSE_CONTENT_TYPE = "application/json"
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        register_error_handlers(self._app)

    def _register_responses(self) -> None:
        before = self.DEFAULT_RESPONSE_CONTENT_TYPE
        self.DEFAULT_RESPONSE_CONTENT_TYPE = MEDIA_TYPE  # these are the responses of errors only
        try:
            super()._register_responses()
        finally:
            self.DEFAULT_RESPONSE_CONTENT_TYPE = before

    def _openapi_json(self) -> Response:
        return jsonify(self.spec.to_dict())


def make_app(
    service: str,
    title: str,
    description: str,
    public_url: str,
    settings: Settings,
    readiness: Readiness,
    *,
    import_name: str,
    body_size_bytes_max: int | None = None,
) -> tuple[Flask, Api]:
    """An app with everything that both services share, and the Api to register blueprints with.

    `service` is the name in logs and metrics; `public_url` the base under which clients reach this service;
    `readiness` tells why it cannot serve, or None. Register blueprints with `url_prefix=PREFIX + …`.
    """
    app = _App(import_name, static_folder=None)
    app.request_class = DoorRequest
    app.config.update(
        API_TITLE=title,
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX=PREFIX,
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "info": {
                "description": description,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": public_url}],
        },
        MAX_CONTENT_LENGTH=body_size_bytes_max or settings.body_size_bytes_max,
        MAX_FORM_MEMORY_SIZE=_TEXT_PART_SIZE_BYTES_MAX,
        MAX_FORM_PARTS=_PARTS_MAX,
        TRAP_HTTP_EXCEPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False  # `//jobs` is no path of ours: 404, not a redirect to where Host says
    api = Api(app)
    observe.register(app, service)
    cors.register(app, settings)
    gate.register(app)
    health.register(app, readiness)
    reference.register(app, PREFIX)
    swagger.register(app, PREFIX, title, settings)
    app.extensions["darkroom.closers"] = []
    app.extensions["darkroom.failures"] = []
    return app, api


def on_close(app: Flask, close: Callable[[], None]) -> None:
    """Calls `close` when the server's worker ends; the last one registered comes first."""
    app.extensions["darkroom.closers"].append(close)


def end_when(app: Flask, failed: Callable[[], str | None]) -> None:
    """The server asks `failed` every second: once it tells why the app cannot go on for good, the process ends with
    a status other than 0, so that its supervisor starts it anew."""
    app.extensions["darkroom.failures"].append(failed)


def failure_of(app: Flask) -> str | None:
    """What a check of `end_when` has told, or None."""
    checks: list[Callable[[], str | None]] = app.extensions["darkroom.failures"]
    return next((reason for failed in checks if (reason := failed())), None)


def close_app(app: Flask) -> None:
    """Runs what `on_close` has registered, all of it, whatever fails."""
    closers: list[Callable[[], None]] = app.extensions["darkroom.closers"]
    while closers:
        try:
            closers.pop()()
        except Exception:
            app.logger.exception("closing failed")
