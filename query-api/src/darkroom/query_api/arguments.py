"""What may stand in a query string, and nothing else. Unknown parameters are refused by the blueprint's parser."""

import re
from datetime import UTC, datetime
from typing import Any

from flask import request
from marshmallow import ValidationError, fields, post_load, validate

from darkroom.runtime.http.fields import QueryNumber, Strict
from darkroom.runtime.http.preference import WAIT_S_MAX
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.ids import Position

STATUSES = ("created", "queued", "running", "succeeded", "failed", "cancelled")
REPEATABLE = frozenset({"status", "label", "after"})
LIMIT_MAX = 200
LIMIT_DEFAULT = 50
WAIT_S_DEFAULT = 5
_DECIMAL = re.compile(r"[0-9]{1,3}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
"""As JSON writes numbers: what a program prints for a small fraction (1e-05) is one of them."""


class Fraction(fields.Float):
    """A decimal number from 0 to 1."""

    def __init__(self, **more: Any) -> None:
        super().__init__(validate=validate.Range(min=0, max=1), **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> float:
        if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
            raise ValidationError("Not a number from 0 to 1.")
        return super()._deserialize(value, attr, data, **more)


class Moment(fields.String):
    """An RFC 3339 time with its offset, as a datetime in UTC."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> Any:
        text = super()._deserialize(value, attr, data, **more)
        try:
            # A `+` that was not percent-encoded arrives as a space.
            moment = datetime.fromisoformat(str(text).replace(" ", "+"))
            if moment.tzinfo is None:
                raise ValidationError("The time has no offset; write `Z` for UTC.")
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError("Not an RFC 3339 time, such as 2026-11-22T10:00:00Z.") from None


class After(Strict):
    """Read-your-writes."""

    after = fields.List(
        fields.String(validate=validate.Length(1, 200)),
        validate=validate.Length(max=32),
        load_default=list,
        metadata={
            "description": "A position that the answer must be past, as given by the answer to a command; may be "
            "repeated. 503 `read-model-behind` when it is not reached within `wait`.",
            "example": ["MS4zLjE3LjVrN1Z4dw"],
        },
    )
    wait = QueryNumber(
        0,
        WAIT_S_MAX,
        load_default=WAIT_S_DEFAULT,
        metadata={"description": "How long to wait for `after`, in seconds.", "example": 5},
    )

    @post_load
    def _positions(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return data | {"after": [position(token) for token in data["after"]]}


class JobArguments(After):
    as_of = fields.String(
        metadata={"description": "Reserved: a time or position in the past. 422 `not-supported-yet`."}
    )

    @post_load
    def _not_yet(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "as_of" in data:
            raise ProblemError(
                "not-supported-yet", "A job as it was (as_of) cannot be asked for yet; its events can."
            )
        return data


class Page(Strict):
    limit = QueryNumber(
        1, LIMIT_MAX, load_default=LIMIT_DEFAULT, metadata={"description": "Items at most.", "example": 50}
    )
    cursor = fields.String(
        validate=validate.Length(1, 400),
        metadata={"description": "`next` of the page before. It belongs to the same filters."},
    )


class JobsArguments(After, Page):
    status = fields.List(
        fields.String(validate=validate.OneOf(STATUSES)),
        validate=validate.Length(max=len(STATUSES)),
        metadata={"description": "Only jobs of this status; may be repeated.", "example": ["failed"]},
    )
    model = fields.String(
        validate=validate.Length(1, 100),
        metadata={
            "description": "Only jobs of this model: a name, or name@version.",
            "example": "shapes-classifier",
        },
    )
    label = fields.List(
        fields.String(validate=validate.Regexp(r"^[^:\x00]{1,64}:[^\x00]{0,256}$", error="Not key:value.")),
        validate=validate.Length(max=8),
        metadata={
            "description": "Only jobs that carry this label, as key:value; several: all of them.",
            "example": ["batch:42"],
        },
    )
    created_from = Moment(metadata={"format": "date-time", "description": "Created at or after this time."})
    created_to = Moment(metadata={"format": "date-time", "description": "Created before this time."})
    id = fields.String(
        validate=validate.Regexp(r"^[0-9a-fA-F-]{1,36}\Z", error="Not the beginning of a UUID."),
        metadata={"description": "Only jobs whose id begins so.", "example": "0197"},
    )


class EventsArguments(Strict):
    include = fields.String(
        validate=validate.OneOf(["void"]),
        metadata={"description": "`void`: also the events that lost a race and changed nothing."},
    )


class JobEventsArguments(EventsArguments, After):
    limit = QueryNumber(
        1, 1000, load_default=1000, metadata={"description": "Events at most (JSON only).", "example": 100}
    )
    cursor = fields.String(
        validate=validate.Length(1, 200),
        metadata={"description": "`next` of the page before (JSON only)."},
    )


class AnnotatedArguments(Strict):
    run = QueryNumber(
        1, 10**6, metadata={"description": "Number of the run; the latest one by default.", "example": 1}
    )
    min_score = Fraction(
        load_default=0.0, metadata={"description": "Only what scored at least this.", "example": 0.5}
    )


class StatsArguments(After):
    since = Moment(metadata={"format": "date-time", "description": "Only hours that began at or after this time."})


class Nothing(Strict):
    """No parameters at all."""


def position(token: str) -> Position:
    """Raises ProblemError (malformed-position)."""
    try:
        return Position.parse(token)
    except ValueError:
        raise ProblemError("malformed-position", "That is not a position that this service gave.") from None


def refuse_repeated() -> None:
    """A parameter that may stand once and stands twice is refused, not half read."""
    repeated = [n for n, values in request.args.lists() if len(values) > 1 and n not in REPEATABLE]
    if repeated:
        raise ProblemError(
            "invalid-request",
            "A parameter stands more than once.",
            errors=[(f"?{name[:100]}", "May stand only once.") for name in repeated[:20]],
        )
