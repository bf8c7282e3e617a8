"""The catalogue of models, statistics, and how far the read models have come."""

from time import monotonic
from typing import Any

from flask import Response

from darkroom.query_api import bodies, examples, present
from darkroom.query_api.arguments import STATUSES, After, Nothing, StatsArguments
from darkroom.query_api.parts import TENANT, Parts, json_response
from darkroom.query_api.present import PREFIX
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.http.problems import ProblemError
from darkroom.schemas import views
from darkroom.schemas.chain import short_type
from darkroom.schemas.eventdata import JOB_SCHEMAS

MODELS_MAX = 1000
_READING = ("invalid-request", "malformed-position", "store-unavailable", "read-model-behind", "too-busy")
_EVENT_TYPES = tuple(short_type(t) for t in JOB_SCHEMAS)


def blueprint(parts: Parts) -> Blueprint:
    blp = Blueprint("overview", __name__, url_prefix=PREFIX, description="Models, statistics, progress.")
    store = parts.reader.store

    @blp.route("/models")
    @blp.doc(summary="List the models", operationId="listModels")
    @blp.arguments(After, location="query")
    @blp.response(200, bodies.ModelList, example=examples.MODELS)
    @problems(*_READING)
    def list_models(arguments: dict[str, Any]) -> Response:
        docs = parts.reader.read(
            "models",
            lambda generation: store.models(generation, TENANT, MODELS_MAX),
            arguments["after"],
            monotonic() + arguments["wait"],
        )
        return json_response({"items": [_model(parts, d) for d in docs]})

    @blp.route("/models/<string:name>")
    @blp.doc(summary="Read a model", operationId="getModel")
    @blp.arguments(After, location="query")
    @blp.response(200, bodies.Model, example=examples.MODEL)
    @problems(("unknown-model", 404), *_READING)
    def get_model(arguments: dict[str, Any], name: str) -> Response:
        doc = parts.reader.read(
            "models",
            lambda generation: store.model(generation, TENANT, name),
            arguments["after"],
            monotonic() + arguments["wait"],
        )
        if doc is None:
            raise ProblemError("unknown-model", "There is no model of that name.", status=404)
        return json_response(_model(parts, doc))

    @blp.route("/stats")
    @blp.doc(summary="Counts by status and model, and durations", operationId="getStats")
    @blp.arguments(StatsArguments, location="query")
    @blp.response(200, bodies.Stats, example=examples.STATS)
    @problems(*_READING)
    def get_stats(arguments: dict[str, Any]) -> Response:

        def counts(generation: int) -> tuple[dict[str, int], list[dict[str, Any]]]:
            by_status = store.count_by_status(generation, TENANT, STATUSES)
            return by_status, store.stats_by_model(generation, TENANT, arguments.get("since"), _EVENT_TYPES)

        by_status, by_model = parts.reader.read(
            "stats",
            counts,
            arguments["after"],
            monotonic() + arguments["wait"],
            absent=lambda found: not any(found[0].values()),
        )
        return json_response(present.statistics(by_status, by_model))

    @blp.route("/projections")
    @blp.doc(summary="How far each read model has folded the log", operationId="listProjections")
    @blp.arguments(Nothing, location="query")
    @blp.response(200, bodies.ProjectionList, example=examples.PROJECTIONS)
    @problems("invalid-request", "store-unavailable")
    def list_projections(_arguments: dict[str, Any]) -> Response:
        aliases, marks, quarantined = store.projections()
        items = [
            present.projection(read_model, alias, marks, quarantined)
            for alias in sorted(aliases, key=lambda a: str(a["_id"]))
            for read_model in views.FAMILIES[alias["_id"]]
        ]
        return json_response({"items": items})

    return blp


def _model(parts: Parts, doc: dict[str, Any]) -> dict[str, Any]:
    digests = {v["labels"].get("digest", "") for v in doc["versions"]}
    return present.model(doc, {d: parts.content.labels(d) for d in digests if d})
