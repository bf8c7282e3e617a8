"""Is the answer one that the document foretells? Schemathesis's checks, and what this contract says beyond them."""

from collections.abc import Iterator
from typing import Any

import requests
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .making import STREAM, Asked
from .targets import Target

PROBLEM = "application/problem+json"
_URN = "urn:darkroom:problem:"
_CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_OF_THE_SERVER = frozenset({400, 408, 414, 431, 501})
"""The HTTP server answers these before a request has an id."""
_REJECTED = ["400", "404", "405", "406", "409", "410", "412", "413", "414", "415", "422", "431"]


def violations(target: Target, asked: Asked, answer: requests.Response) -> Iterator[tuple[str, str]]:
    """(name of the check, what is wrong) for each promise that the answer breaks."""
    yield from _fuzzers(target, asked, answer)
    body = json_of(answer)
    if "X-Request-Id" not in answer.headers and answer.status_code not in _OF_THE_SERVER:
        yield "request-id", "the answer has no X-Request-Id"
    if answer.status_code >= 400:
        yield from _problem(target, asked, answer, body)
    elif answer.status_code in (202, 303) and not _leads_to_result(answer, body):
        yield "location", f"Location is {answer.headers.get('Location')!r}, not urls.result"
    if asked.meant is not None and answer.status_code not in asked.meant:
        yield "acceptance", f"a request that is right got {answer.status_code}, not one of {sorted(asked.meant)}"


def different(first: requests.Response, second: requests.Response) -> Iterator[tuple[str, str]]:
    """A command that is repeated under its key gets the first answer again."""
    if first.status_code == 202 and (second.status_code, second.content) != (202, first.content):
        yield "repetition", f"first {first.text[:300]}, then {second.status_code} {second.text[:300]}"


def _fuzzers(target: Target, asked: Asked, answer: requests.Response) -> Iterator[tuple[str, str]]:
    checks = list(_CONFORMANCE)
    if asked.how == "generated" and not asked.headers:
        checks.append(negative_data_rejection)
        rejecting = target.operation.schema.config.checks.negative_data_rejection
        rejecting.expected_statuses = _REJECTED
    try:
        asked.case.validate_response(answer, checks=checks)
    except FailureGroup as group:
        for failure in group.exceptions:
            yield type(failure).__name__, f"{failure.title}: {failure.message}"


def _problem(target: Target, asked: Asked, answer: requests.Response, body: Any) -> Iterator[tuple[str, str]]:
    status = answer.status_code
    if answer.headers.get("Content-Type", "") != PROBLEM:
        yield "problem", f"an error as {answer.headers.get('Content-Type')!r}"
    if not isinstance(body, dict) or body.get("status") != status:
        yield "problem", f"the body is not that of a problem with status {status}: {answer.text[:300]}"
        return
    name = str(body.get("type")).removeprefix(_URN)
    if name not in target.problems.get(status, ()):
        yield "problem-type", f"{status} {name} is not in the document of {target.id}"
    if status >= 500 and not (status == 503 and _is_honest(asked, name)):
        yield "server-error", f"{status} {name}: {body.get('detail')}"
    if status == 503 and not answer.headers.get("Retry-After", "").isdigit():
        yield "retry-after", "a 503 without Retry-After"
    if "Traceback" in answer.text or 'File "' in answer.text:
        yield "stack-trace", "the body holds a stack trace"


def _leads_to_result(answer: requests.Response, body: Any) -> bool:
    return isinstance(body, dict) and answer.headers.get("Location") == body["urls"]["result"]


def _is_honest(asked: Asked, name: str) -> bool:
    """What may be said with every part up: a position that does not exist yet is waited for in vain; and a stream
    that was closed keeps its place until the server next writes to it."""
    return name == "read-model-behind" or (name == "too-busy" and asked.headers.get("Accept") == STREAM)


def json_of(answer: requests.Response) -> Any:
    """What the answer says in JSON; None for anything else, broken JSON too."""
    if "json" not in answer.headers.get("Content-Type", ""):
        return None
    try:
        return answer.json()
    except ValueError:
        return None
