"""Routes of jobs: create, execute again, cancel, delete."""

from collections.abc import Sequence
from typing import Any

from flask import Response, request

from darkroom.command_api import documents as doc
from darkroom.command_api.answers import Addresses, ended_answer, job_answer
from darkroom.command_api.bodies import INPUTS_MAX, Job, Run
from darkroom.command_api.caller import Caller, caller_of
from darkroom.command_api.jobs import JobCommands
from darkroom.command_api.outcomes import counted
from darkroom.command_api.pictures import Given, given_as_files, given_in_json
from darkroom.command_api.uploads import is_multipart, json_field, read_form, read_no_body, read_object
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.bodies import leave_room
from darkroom.runtime.http.fields import invalid, load
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.http.preference import wait_preferred
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.http.strictjson import read_json
from darkroom.runtime.ids import job_id_of, new_id, parse_uuid
from darkroom.runtime.protocol import Accepted

_UNAVAILABLE = ("log-unavailable", "tail-behind", "store-unavailable")
_HEADERS = ("malformed-header", "version-differs")
_NO_BODY = ("invalid-json", "unsupported-media-type", "body-too-large")
"""A body that is sent all the same is read, and refused unless it is `{}`."""
_CREATE = (
    *_HEADERS,
    *_UNAVAILABLE,
    "invalid-json",
    "malformed-request",
    "body-too-large",
    "inputs-too-large",
    "picture-too-large",
    "unsupported-media-type",
    "unsupported-media",
    "invalid-request",
    "unknown-model",
    "model-retired",
    "unknown-media",
    "picture-broken",
    "picture-too-slow",
    "picture-url-not-supported",
    "key-reused",
    "too-busy",
)
_TEXTS = frozenset({"model", "parameters", "labels", "execute", "deadline_s"})
_JOB = Job()
_RUN = Run()
_JOB_ID = {
    "in": "path",
    "name": "job_id",
    "description": "the job's id",
    "schema": {"type": "string", "format": "uuid"},
    "example": doc.JOB_ID,
}
_COMMAND_PARAMETERS = [doc.KEY_PARAMETER, doc.CONDITION_PARAMETER, doc.TRACE_PARAMETER]
_RUN_PARAMETERS = [*_COMMAND_PARAMETERS, doc.PREFER_PARAMETER]


def job_routes(commands: JobCommands, at: Addresses, picture_size_bytes_max: int) -> Blueprint:
    """The blueprint of `/jobs`."""
    routes = Blueprint("jobs", __name__, description="Jobs: create, execute again, cancel, delete")

    or_ended = routes.alt_response(
        303,
        schema=doc.JobAccepted,
        description=doc.ENDED,
        example=doc.job_accepted("succeeded", 3, 1),
        headers=doc.ENDED_HEADERS,
    )

    def answer(job_id: str, accepted: Accepted) -> Response:
        """202 at once, or 303 once the run has ended, if the client would rather wait."""
        wait_s = wait_preferred()
        if wait_s:
            leave_room()  # for others' pictures; this request's are kept
        ended = commands.wait(job_id, accepted, wait_s)
        return ended_answer(job_id, accepted, ended, wait_s, at) if ended else job_answer(job_id, accepted, at)

    def create(job_id: str, caller: Caller, *, known_id: bool) -> Response:
        with counted("create", job_id=job_id) as note:
            body, inputs = _read_job(picture_size_bytes_max)
            accepted = note(commands.create(job_id, body, inputs, caller, known_id=known_id))
        return answer(job_id, accepted)

    @routes.route("/jobs", methods=["POST"])
    @routes.doc(requestBody=doc.CREATE_BODY, parameters=_RUN_PARAMETERS, operationId="createJob")
    @routes.response(202, doc.JobAccepted, example=doc.job_accepted("queued", 1, 1), headers=doc.ACCEPTED_HEADERS)
    @or_ended
    @problems(*_CREATE, "job-deleted")
    def create_job() -> Response:
        """Create a job, and execute it

        Pictures come as uploads of before, as data: URLs, or as files of a multipart body. Under an
        Idempotency-Key, the job's id is derived from the key.
        """
        caller = caller_of(request)
        job_id = job_id_of(caller.tenant, caller.key) if caller.key else new_id()
        return create(job_id, caller, known_id=caller.key is not None)

    @routes.route("/jobs/<job_id>", methods=["PUT"], parameters=[_JOB_ID])
    @routes.doc(requestBody=doc.CREATE_BODY, parameters=_RUN_PARAMETERS, operationId="putJob")
    @routes.response(202, doc.JobAccepted, example=doc.job_accepted("queued", 1, 1), headers=doc.ACCEPTED_HEADERS)
    @or_ended
    @problems(*_CREATE, "job-deleted")
    def put_job(job_id: str) -> Response:
        """Create a job under an id of the client's own

        Any UUID. The same body again gives the first answer; another body is refused.
        """
        caller = caller_of(request)
        canonical = parse_uuid(job_id)
        if canonical is None:
            raise ProblemError("invalid-request", "A job's id must be a UUID.", errors=[("job_id", "Not a UUID.")])
        return create(canonical, caller, known_id=True)

    @routes.route("/jobs/<job_id>", methods=["DELETE"], parameters=[_JOB_ID])
    @routes.doc(parameters=_COMMAND_PARAMETERS, operationId="deleteJob")
    @routes.response(202, doc.JobAccepted, example=doc.job_accepted("deleted", 4, 1), headers=doc.ACCEPTED_HEADERS)
    @problems(
        *_HEADERS,
        *_UNAVAILABLE,
        *_NO_BODY,
        "unknown-job",
        "job-deleted",
        "invalid-request",
        "key-reused",
    )
    def delete_job(job_id: str) -> Response:
        """Delete a job, and cancel a run under way"""
        caller, known = caller_of(request), _existing(job_id)
        with counted("delete", job_id=known) as note:
            read_no_body(request)
            return job_answer(known, note(commands.delete(known, caller)), at)

    @routes.route("/jobs/<job_id>/runs", methods=["POST"], parameters=[_JOB_ID])
    @routes.doc(requestBody=doc.RUN_BODY, parameters=_RUN_PARAMETERS, operationId="runJob")
    @routes.response(202, doc.JobAccepted, example=doc.job_accepted("queued", 4, 2), headers=doc.ACCEPTED_HEADERS)
    @or_ended
    @problems(
        *_HEADERS,
        *_UNAVAILABLE,
        "invalid-json",
        "unknown-job",
        "job-state",
        "job-deleted",
        "body-too-large",
        "inputs-too-large",
        "unsupported-media-type",
        "invalid-request",
        "unknown-model",
        "model-retired",
        "key-reused",
    )
    def run_job(job_id: str) -> Response:
        """Execute a job again

        With another model or other parameters, if the body gives them. Every run is kept.
        """
        caller, known = caller_of(request), _existing(job_id)
        with counted("run", job_id=known) as note:
            body = load(_RUN, read_object(request))
            accepted = note(commands.run(known, body, caller))
        return answer(known, accepted)

    @routes.route("/jobs/<job_id>/cancel", methods=["POST"], parameters=[_JOB_ID])
    @routes.doc(parameters=_COMMAND_PARAMETERS, operationId="cancelJob")
    @routes.response(
        202, doc.JobAccepted, example=doc.job_accepted("cancelled", 2, 1), headers=doc.ACCEPTED_HEADERS
    )
    @problems(
        *_HEADERS,
        *_UNAVAILABLE,
        *_NO_BODY,
        "unknown-job",
        "job-state",
        "job-deleted",
        "invalid-request",
        "key-reused",
    )
    def cancel_job(job_id: str) -> Response:
        """Cancel what is queued or running"""
        caller, known = caller_of(request), _existing(job_id)
        with counted("cancel", job_id=known) as note:
            read_no_body(request)
            return job_answer(known, note(commands.cancel(known, caller)), at)

    return routes


def _existing(job_id: str) -> str:
    """The canonical form of an id. What is no UUID is answered like an unknown job."""
    canonical = parse_uuid(job_id)
    if canonical is None:
        raise ProblemError("unknown-job", "There is no such job.")
    return canonical


def _read_job(picture_size_bytes_max: int) -> tuple[dict[str, Any], Sequence[Given]]:
    """The body of a create without its inputs, and the inputs."""
    if not is_multipart(request):
        body = load(_JOB, read_json(request))
        return body, given_in_json(body.pop("inputs"), picture_size_bytes_max)
    texts, files = read_form(request, _TEXTS, frozenset({"file"}))
    pictures = files.get("file", [])
    if not pictures:
        raise invalid([("#/file", "Give at least one file.")])
    if len(pictures) > INPUTS_MAX:
        raise ProblemError("body-too-large", f"A job may have at most {INPUTS_MAX} pictures.")
    # The form is brought into the form of the JSON body, so that both obey one schema.
    said: dict[str, Any] = {"inputs": [{"media": "sha256:" + "0" * 64}]}
    for name, text in texts.items():
        said[name] = text if name == "model" else json_field(text, name)
    body = load(_JOB, said)
    del body["inputs"]
    return body, given_as_files([file.read() for file in pictures])
