"""Values out of an event, made safe for BSON; each raises Undecodable for what cannot be kept."""

import math
from datetime import UTC, datetime
from typing import Any

from darkroom.schemas.errors import Undecodable

_DEPTH_MAX = 40  # MongoDB refuses documents nested deeper than 180, and ours put values some levels down
_INTEGER_MAX = 2**53
_KEYS = str.maketrans({".": "．", "$": "＄"})


def plain(value: Any, depth: int = 0) -> Any:
    """A copy of a JSON value that BSON holds exactly. `.` and `$` in keys, which MongoDB would read as paths and
    operators, become their full-width forms."""
    if depth > _DEPTH_MAX:
        raise Undecodable(f"a value is nested deeper than {_DEPTH_MAX}")
    kind = type(value)  # JSON knows these very types; a chain of `is` is the quickest way to tell them apart
    if kind is str or value is None or kind is bool:
        return value
    if kind is float:
        return number(value)
    if kind is int:
        return whole(value)
    if kind is dict:
        return {_key(k): plain(v, depth + 1) for k, v in value.items()}
    if kind is list or kind is tuple:
        return [plain(v, depth + 1) for v in value]
    raise Undecodable(f"a value of type {kind.__name__}")


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Undecodable(f"{value!r:.80} is no string")
    return value


def whole(value: Any) -> int:
    """An integer that every reader of JSON holds exactly."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _INTEGER_MAX:
        raise Undecodable(f"{value!r:.80} is no integer up to 2^53")
    return value


def number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise Undecodable(f"{value!r:.80} is no finite number")
    return float(value)


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Undecodable(f"{value!r:.80} is no object")
    return value


def sequence(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Undecodable(f"{value!r:.80} is no array")
    return value


def moment(time: datetime) -> datetime:
    """The time in UTC, cut to the millisecond, which is what BSON keeps."""
    utc = time.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def milliseconds(start: datetime | None, end: datetime | None) -> float:
    """From start to end; 0 where one is missing, or where the writers' clocks disagree."""
    return max(0.0, round((end - start).total_seconds() * 1000, 3)) if start and end else 0.0


def _key(key: Any) -> str:
    if not isinstance(key, str) or "\0" in key:
        raise Undecodable(f"the key {key!r:.80}")
    return key.translate(_KEYS) if "." in key or "$" in key else key
