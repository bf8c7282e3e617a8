"""Marshmallow fields and loading for what comes from outside: nothing is converted, everything is bounded.

Marshmallow's own fields take "1", 1.9 or true for an integer, and 1 for a boolean.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from darkroom.runtime.http.problems import ProblemError

_DIGITS = re.compile(r"-?[0-9]{1,18}")


class WholeNumber(fields.Integer):
    """A JSON integer between two bounds; no fraction, string or boolean."""

    def __init__(self, minimum: int, maximum: int, **more: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=minimum, max=maximum), **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError("Not an integer.")
        return super()._deserialize(value, attr, data, **more)


class Number(fields.Float):
    """A JSON number between two bounds; no string or boolean."""

    def __init__(self, minimum: float, maximum: float, **more: Any) -> None:
        super().__init__(allow_nan=False, validate=validate.Range(min=minimum, max=maximum), **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Not a number.")
        return super()._deserialize(value, attr, data, **more)


class QueryNumber(fields.Integer):
    """An integer between two bounds, written in decimal digits in a query string."""

    def __init__(self, minimum: int, maximum: int, **more: Any) -> None:
        super().__init__(validate=validate.Range(min=minimum, max=maximum), **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> int:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise ValidationError("Not an integer.")
        return int(value)


class Flag(fields.Boolean):
    """`true` or `false`, nothing like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Not true or false.")
        return value


class Strict(Schema):
    """Unknown fields are refused."""

    class Meta:
        unknown = RAISE


def load(schema: Schema, data: Any, at: str = "#") -> Any:
    """What `schema` makes of a parsed JSON value. Raises ProblemError (invalid-request), naming each field by its
    pointer below `at`."""
    if not isinstance(data, Mapping):
        raise ProblemError(
            "invalid-request", "The body must be a JSON object.", errors=[(at, "Not a JSON object.")]
        )
    try:
        return schema.load(cast(Mapping[str, Any], data))
    except ValidationError as error:
        raise invalid(pointers(error.messages, at)) from None


def invalid(errors: list[tuple[str, str]]) -> ProblemError:
    """The problem of a request with wrong fields."""
    bounded = [(pointer[:200], detail[:300]) for pointer, detail in errors[:50]]
    named = ", ".join(pointer for pointer, _ in bounded[:3])
    return ProblemError("invalid-request", f"What is wrong stands under: {named}.", errors=bounded)


def pointers(messages: Any, at: str) -> list[tuple[str, str]]:
    """Marshmallow's nested messages as (JSON Pointer, detail) pairs."""
    return list(_pointers(messages, at))


def _pointers(messages: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(messages, Mapping):
        for key, below in messages.items():
            # "_schema" is about the object itself; "key" and "value" are marshmallow's words for a Dict's entries.
            step = "" if key in ("_schema", "key", "value") else f"/{_escaped(str(key))}"
            yield from _pointers(below, at + step)
    elif isinstance(messages, list | tuple):
        for message in messages:
            yield from _pointers(message, at)
    else:
        yield at, str(messages)


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
