"""Jobs and their runs."""

from time import monotonic
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from darkroom.query_api import bodies, examples
from darkroom.query_api.arguments import After, JobArguments, JobsArguments
from darkroom.query_api.listing import FILTERS, cursor_after, query_of
from darkroom.query_api.parts import TENANT, Parts, job_id, json_response, shown
from darkroom.query_api.present import PREFIX, with_results
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.http.preference import wait_preferred
from darkroom.runtime.http.problems import ProblemError

RUNS_MAX = 1000
_READING = ("invalid-request", "malformed-position", "store-unavailable", "read-model-behind", "too-busy")
_PREFER = {
    "in": "header",
    "name": "Prefer",
    "schema": {"type": "string"},
    "example": "wait=10",
    "description": "`wait=N`: wait up to N seconds (at most 60) until the job is terminal.",
}
_IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "example": '"3"',
    "description": "304 if the job's version is still this.",
}
_JOB_HEADERS = {
    "ETag": {"schema": {"type": "string"}, "description": "the job's version", "example": '"3"'},
    "Preference-Applied": {"schema": {"type": "string"}, "description": "when the wait met the job's end"},
}


def blueprint(parts: Parts) -> Blueprint:
    blp = Blueprint("jobs", __name__, url_prefix=f"{PREFIX}/jobs", description="Jobs, their runs and results.")

    @blp.route("")
    @blp.doc(summary="List jobs, newest first", operationId="listJobs")
    @blp.arguments(JobsArguments, location="query")
    @blp.response(
        200,
        bodies.JobList,
        example=examples.JOBS,
        headers={"Link": {"schema": {"type": "string"}, "description": '`rel="next"` where there is more'}},
    )
    @problems(*_READING)
    def list_jobs(arguments: dict[str, Any]) -> Response:
        filters = {name: arguments[name] for name in FILTERS if name in arguments}
        query = query_of(TENANT, filters, arguments.get("cursor"))
        limit: int = arguments["limit"]

        def page(generation: int) -> dict[str, Any]:
            docs = parts.reader.store.jobs(generation, query, limit + 1)
            items = [
                parts.presenter.summary(d, parts.reader.store.topic_id("jobs", generation, d["partition"]))
                for d in docs[:limit]
            ]
            return {
                "items": items,
                "next": cursor_after(docs[limit - 1], filters) if len(docs) > limit else None,
            }

        body = parts.reader.read(
            "jobs",
            page,
            arguments["after"],
            monotonic() + arguments["wait"],
            absent=lambda found: not found["items"],
        )
        return json_response(body, _link_next(parts, request.path, body["next"]))

    @blp.route("/<string:job>")
    @blp.doc(summary="Read a job", operationId="getJob", parameters=[_PREFER, _IF_NONE_MATCH])
    @blp.arguments(JobArguments, location="query")
    @blp.response(200, bodies.Job, example=examples.JOB, headers=_JOB_HEADERS)
    @blp.alt_response(304, description="The job's version is still that of If-None-Match")
    @problems("unknown-job", "job-deleted", "not-supported-yet", *_READING)
    def get_job(arguments: dict[str, Any], job: str) -> Response:
        name, wait_s = job_id(job), wait_preferred()
        deadline = monotonic() + arguments["wait"]
        applied = False
        if wait_s:
            doc, applied = parts.reader.job_when_terminal(TENANT, name, arguments["after"], deadline, wait_s)
        else:
            doc = parts.reader.job(TENANT, name, arguments["after"], deadline)
        doc = shown(doc)
        etag = str(doc["version"])
        if request.if_none_match.contains(etag):
            response = Response(status=304)
        else:
            results = parts.content.results_of(doc["run"])
            response = json_response(parts.presenter.job(doc, doc["topic_id"], results))
        response.set_etag(etag)
        response.headers["Cache-Control"] = "no-cache"
        if applied:
            response.headers["Preference-Applied"] = f"wait={wait_s}"
        return response

    @blp.route("/<string:job>/runs")
    @blp.doc(summary="List a job's runs, oldest first", operationId="listRuns")
    @blp.arguments(After, location="query")
    @blp.response(200, bodies.RunList, example=examples.RUNS)
    @problems("unknown-job", "job-deleted", *_READING)
    def list_runs(arguments: dict[str, Any], job: str) -> Response:
        deadline = monotonic() + arguments["wait"]
        doc = shown(parts.reader.job(TENANT, job_id(job), arguments["after"], deadline))
        last: int = (doc["run"] or {}).get("run", 0)
        runs = parts.reader.read(
            "runs",
            lambda generation: parts.reader.store.runs(generation, TENANT, doc["_id"], last, RUNS_MAX),
            arguments["after"],
            deadline,
        )
        return json_response({"items": [parts.presenter.run(r) for r in runs]})

    @blp.route("/<string:job>/runs/<int:run>")
    @blp.doc(summary="Read a run with its attempts and full result", operationId="getRun")
    @blp.arguments(After, location="query")
    @blp.response(200, bodies.Run, example=examples.RUN)
    @problems("unknown-job", "not-found", "job-deleted", *_READING)
    def get_run(arguments: dict[str, Any], job: str, run: int) -> Response:
        deadline = monotonic() + arguments["wait"]
        doc = shown(parts.reader.job(TENANT, job_id(job), arguments["after"], deadline))
        found = find_run(parts, doc["_id"], run, arguments["after"], deadline)
        return json_response(with_results(parts.presenter.run(found), found, parts.content.results_of(found)))

    return blp


def find_run(parts: Parts, job: str, run: int, after: Any = (), deadline: float = 0.0) -> dict[str, Any]:
    """Raises ProblemError (not-found)."""
    if run > 10**9:
        raise ProblemError("not-found", "The job has no such run.")
    found = parts.reader.read(
        "runs", lambda generation: parts.reader.store.run(generation, TENANT, job, run), after, deadline
    )
    if found is None:
        raise ProblemError("not-found", f"The job has no run {run}.")
    return found


def _link_next(parts: Parts, path: str, cursor: str | None) -> dict[str, str]:
    if cursor is None:
        return {}
    kept = [(n, v) for n, v in request.args.items(multi=True) if n not in ("cursor", "after", "wait")]
    return {"Link": f'<{parts.public_url}{path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'}
