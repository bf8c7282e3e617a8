"""One record as a line of JSON. Bytes that are UTF-8 stand as text, others as {"base64": …}: either way the same
bytes come back, and None is kept apart from empty."""

from base64 import b64decode, b64encode
from typing import Any

import orjson

from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.eventlog.port import Record

LINE_SIZE_BYTES_MAX = 64 * 2**20
"""No line is longer: a record of 1 MiB takes at most six times as much, where every byte is escaped."""


def line_of(record: Record) -> bytes:
    """The line, with its end. The partition stands in the path of the segment, once for all."""
    return orjson.dumps(
        {
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": _shown(record.key),
            "headers": [[name, _shown(value)] for name, value in record.headers],
            "value": _shown(record.value),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def record_of(line: bytes, partition: int) -> Record:
    """The record of a line. Raises ArchiveError."""
    try:
        found = orjson.loads(line)
        return Record(
            partition,
            int(found["offset"]),
            _bytes(found["key"]),
            _bytes(found["value"]),
            [(str(name), _bytes(value) or b"") for name, value in found["headers"]],
            int(found["timestamp_ms"]),
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ArchiveError(f"a line of the archive is no record: {error!r:.200}") from None


def difference(archived: Record, record: Record) -> str | None:
    """What of a record is not as it was archived; None if all of it is."""
    for name, one, other in (
        ("key", archived.key, record.key),
        ("headers", archived.headers, record.headers),
        ("value", archived.value, record.value),
        ("time", restored_ms(archived), restored_ms(record)),
    ):
        if one != other:
            return name
    return None


def restored_ms(record: Record) -> int:
    """The time with which a record is restored. A log takes 0 for "now": a record without a time gets the first
    millisecond of 1970 instead."""
    return max(1, record.timestamp_ms)


def _shown(content: bytes | None) -> Any:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(content).decode()}


def _bytes(shown: Any) -> bytes | None:
    if shown is None:
        return None
    return shown.encode() if isinstance(shown, str) else b64decode(shown["base64"], validate=True)
