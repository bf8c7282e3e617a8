"""Decorators that document a route completely: its problems, each with an example, and its parameters."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from darkroom.runtime.http.api import Blueprint, Problem
from darkroom.runtime.http.problems import MEDIA_TYPE, PROBLEMS, ProblemError

F = TypeVar("F", bound=Callable[..., Any])
ALWAYS = (
    "internal-error",
    "too-busy",
    # What the server answers by itself, before a route is found.
    "malformed-request",
    "request-timeout",
    "uri-too-long",
    "headers-too-large",
    "not-implemented",
)
_RETRY_AFTER = {"schema": {"type": "integer"}, "description": "seconds to wait before another try", "example": 1}


def problems(*names: str | tuple[str, int]) -> Callable[[F], F]:
    """Documents the problems that a route answers with: names of the catalogue, or (name, status) where the usual
    status is not meant. What any route may answer is always among them."""
    by_status: dict[int, dict[str, Any]] = defaultdict(dict)
    for item in (*names, *ALWAYS):
        name, status = item if isinstance(item, tuple) else (item, PROBLEMS[item].statuses[0])
        by_status[status][name] = {
            "summary": PROBLEMS[name].title,
            "value": ProblemError(name, PROBLEMS[name].explanation, status=status).body(),
        }

    def decorate(function: F) -> F:
        for status, examples in sorted(by_status.items(), reverse=True):
            headers = {"Retry-After": _RETRY_AFTER} if status in (429, 503) else None
            function = Blueprint.alt_response(
                _UNBOUND,
                status,
                schema=Problem,
                content_type=MEDIA_TYPE,
                description=" · ".join(example["summary"] for example in examples.values()),
                examples=examples,
                headers=headers,
            )(function)
        return function

    return decorate


_UNBOUND = Blueprint("documentation", __name__)
