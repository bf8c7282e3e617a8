"""JSON at the door: what is not plain, bounded, unambiguous JSON is refused before anything looks at it.

Flask's own parsing takes NaN, duplicate keys, lone surrogates and NUL, and dies on deep nesting; each of them
breaks something further on (BSON, the CloudEvents SDK, or two readers that disagree about one document).
"""

import json
from typing import Any

import orjson
from flask import Request

from darkroom.runtime.http.problems import ProblemError

DEPTH_MAX = 32
VALUES_MAX = 500_000
"""What a body may hold of values: each costs many times the bytes that it came in. The largest body that is meant,
a label map of 100,000 rows with a few commas in each, stays below."""
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})


def parse_json(data: bytes) -> Any:
    """The value of a JSON text. Raises ProblemError: 400 `invalid-json`, 413 for too many values."""
    if not data.strip():
        raise ProblemError("invalid-json", "The body is empty.")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > VALUES_MAX:  # those in strings count too
        raise ProblemError("body-too-large", f"A body may hold about {VALUES_MAX} values.")
    try:
        value = orjson.loads(data)  # refuses NaN, lone surrogates, bad UTF-8, infinite numbers, 1,024 levels
    except orjson.JSONDecodeError as error:
        raise ProblemError("invalid-json", f"The body is not JSON: {_place_of(error)}.") from None
    _check_depth_and_text(value)
    try:
        json.loads(data, object_pairs_hook=_distinct, parse_int=_unread, parse_float=_unread)
    except _DuplicateKey:
        raise ProblemError("invalid-json", "An object of the body holds the same key twice.") from None
    return value


def read_json(request: Request) -> Any:
    """The JSON value of a request's body. Raises ProblemError: 415 for another media type or a content encoding,
    400 for what is not strict JSON."""
    check_encoding(request)
    if not request.is_json:
        raise ProblemError("unsupported-media-type", "The body must be application/json.")
    if request.mimetype_params.get("charset", "").lower() not in _CHARSETS:
        raise ProblemError("unsupported-media-type", "The body must be in UTF-8.")
    return parse_json(read_body(request))


def read_body(request: Request) -> bytes:
    """The whole body. Raises RequestEntityTooLarge also for a chunked one, which werkzeug would cut off at the
    limit without a word."""
    data = request.get_data(cache=False)
    if request.content_length is None:
        request.stream.read(1)  # at the limit this raises; at the end of a shorter body it reads nothing
    return data


def check_encoding(request: Request) -> None:
    """Refuses compressed bodies: their size is only known after they were unpacked."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    transfer = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if (
        encoding not in ("", "identity") or transfer != "chunked"
    ):  # the server takes `gzip, chunked`, and unpacks nothing
        raise ProblemError("unsupported-media-type", "The body must not be compressed.")


class _DuplicateKey(Exception):
    pass


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _DuplicateKey


def _unread(_: str) -> int:
    return 0  # this pass looks at keys only; a long number would cost time


def _check_depth_and_text(value: Any) -> None:
    level = [value]
    for depth in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for item in level:
            if depth == DEPTH_MAX and isinstance(item, dict | list):
                raise ProblemError("invalid-json", f"The body is nested more than {DEPTH_MAX} levels deep.")
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and "\0" in item:
                raise ProblemError("invalid-json", "A string of the body holds a NUL character.")
        level = below


def _place_of(error: orjson.JSONDecodeError) -> str:
    # The message of orjson names no content, but its `doc` does: only the place is passed on.
    return f"{error.msg} (line {error.lineno}, column {error.colno})"
