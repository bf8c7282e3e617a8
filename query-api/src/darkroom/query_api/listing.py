"""The list of jobs: filters to a MongoDB query, and the keyset cursor. Pure."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from darkroom.query_api.arguments import STATUSES
from darkroom.runtime.http.problems import ProblemError

FILTERS = ("status", "model", "label", "created_from", "created_to", "id")


def query_of(tenant: str, filters: Mapping[str, Any], cursor: str | None) -> dict[str, Any]:
    """The query for one page. Values only ever stand under fields and operators that are written here. Raises
    ProblemError for a cursor that is not ours, or belongs to other filters."""
    statuses = filters.get("status")
    query: dict[str, Any] = {
        "tenant": tenant,
        "status": {"$in": sorted(set(statuses or STATUSES))},  # never "deleted"
    }
    if name := filters.get("model"):
        name, _, version = name.partition("@")
        query["model.name"] = name
        if version:
            query["model.version"] = version
    if labels := filters.get("label"):
        query["labels"] = {"$all": sorted(set(labels))}
    if prefix := filters.get("id"):
        query["_id"] = {"$gte": prefix.lower(), "$lt": prefix.lower() + "g"}  # "g" follows every hex digit and "-"
    created: dict[str, datetime] = {}
    if "created_from" in filters:
        created["$gte"] = filters["created_from"]
    if "created_to" in filters:
        created["$lt"] = filters["created_to"]
    if cursor is not None:
        at, last_id = _read_cursor(cursor, filters)
        created["$lte"] = at  # where the index scan begins
        query["$nor"] = [{"created_at": at, "_id": {"$gte": last_id}}]
    if created:
        query["created_at"] = created
    return query


def cursor_after(last: Mapping[str, Any], filters: Mapping[str, Any]) -> str:
    """The cursor of the page after the job `last`."""
    at_ms = round(last["created_at"].timestamp() * 1000)
    return _encode([1, at_ms, last["_id"], _fingerprint(filters)])


def _read_cursor(cursor: str, filters: Mapping[str, Any]) -> tuple[datetime, str]:
    try:
        match orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)):
            case [1, int(at_ms), str(last_id), str(fingerprint)] if not isinstance(at_ms, bool):
                at = datetime.fromtimestamp(at_ms / 1000, UTC)
            case _:
                raise ValueError
    except (binascii.Error, ValueError, OverflowError, OSError):
        raise ProblemError("malformed-position", "That is not a cursor that this service gave.") from None
    if fingerprint != _fingerprint(filters):
        raise ProblemError("malformed-position", "The cursor belongs to a list with other filters.")
    return at, last_id


def _fingerprint(filters: Mapping[str, Any]) -> str:
    given = {name: filters[name] for name in FILTERS if filters.get(name)}
    if "status" in given:
        given["status"] = sorted(set(given["status"]))
    return hashlib.sha256(orjson.dumps(given, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def _encode(value: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")
