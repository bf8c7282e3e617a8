"""Values out of an event, made safe for BSON; each raises Undecodable for what cannot be kept."""

from datetime import UTC, datetime
from math import isfinite
from typing import Any

from darkroom.schemas.errors import Undecodable

_DEPTH_MAX = 40  # MongoDB refuses documents nested deeper than 180, and ours put values some levels down
_INTEGER_MAX = 2**53
_KEYS = str.maketrans({".": "．", "$": "＄"})


def plain(value: Any, depth: int = 0) -> Any:
    """A JSON value that BSON holds exactly: itself if it is that already, otherwise a copy. `.` and `$` in keys,
    which MongoDB would read as paths and operators, become their full-width forms."""
    if depth > _DEPTH_MAX:
        raise Undecodable(f"a value is nested deeper than {_DEPTH_MAX}")
    if _is_plain(value, depth):
        return value
    kind = type(value)
    if kind is dict:
        return {_key(k): plain(v, depth + 1) for k, v in value.items()}
    if kind is list or kind is tuple:
        return [plain(v, depth + 1) for v in value]
    if kind is float:
        return number(value)
    if kind is int:
        return whole(value)
    raise Undecodable(f"a value of type {kind.__name__}")


def _is_plain(value: Any, depth: int) -> bool:
    """Whether nothing has to be changed or refused, as in nearly all values there are. JSON knows these very types:
    asking for a type by `is` is the quickest way to tell them apart."""
    kind = type(value)
    if kind is dict:
        keys = "".join(value)
        if depth >= _DEPTH_MAX or "." in keys or "$" in keys or "\0" in keys:
            return False
        value = value.values()
    elif kind is list:
        if depth >= _DEPTH_MAX:
            return False
    else:
        value = (value,)
    for item in value:
        kind = type(item)
        if kind is str or kind is bool or item is None:
            continue
        if kind is float:
            if not isfinite(item):
                return False
        elif kind is int:
            if not -_INTEGER_MAX <= item <= _INTEGER_MAX:
                return False
        elif not (kind is dict or kind is list) or not _is_plain(item, depth + 1):
            return False
    return True


def text(value: Any, length_max: int | None = None) -> str:
    """A string, cut to `length_max` characters."""
    if not isinstance(value, str):
        raise Undecodable(f"{value!r:.80} is no string")
    return value if length_max is None else value[:length_max]


def whole(value: Any) -> int:
    """An integer that every reader of JSON holds exactly."""
    if type(value) is not int or not -_INTEGER_MAX <= value <= _INTEGER_MAX:
        raise Undecodable(f"{value!r:.80} is no integer up to 2^53")
    return value


def number(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value):
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


def size_of(value: Any) -> int:
    """About how many bytes a JSON value takes in BSON, never fewer: an array of small numbers takes far more there
    than in JSON."""
    sizes, open_values = 0, [value]
    while open_values:
        item = open_values.pop()
        sizes += 16  # type, the digits of an index, a number or the length of a string, ends
        if isinstance(item, str):
            sizes += len(item.encode("utf-8", "replace"))
        elif isinstance(item, dict):
            sizes += sum(len(str(key).encode("utf-8", "replace")) for key in item)
            open_values += item.values()
        elif isinstance(item, list | tuple):
            open_values += item
    return sizes


def moment(time: datetime) -> datetime:
    """The time in UTC, cut to the millisecond, which is what BSON keeps."""
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def milliseconds(start: datetime | None, end: datetime | None) -> float:
    """From start to end; 0 where one is missing, or where the writers' clocks disagree."""
    return max(0.0, round((end - start).total_seconds() * 1000, 3)) if start and end else 0.0


def _key(key: Any) -> str:
    if not isinstance(key, str) or "\0" in key:
        raise Undecodable(f"the key {key!r:.80}")
    return key.translate(_KEYS) if "." in key or "$" in key else key
