"""Who asks, and what makes two requests the same: headers, command ids, request hashes."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from flask import Request

from darkroom.runtime.http.observe import traceparent
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.ids import command_id_of, new_id
from darkroom.schemas.job import Condition, Identity
from darkroom.schemas.wire import Context

SOURCE = "urn:darkroom:command-api"
TENANT = "default"
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,255}")  # no comma: the server makes `a,b` of two headers
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_IF_MATCH = re.compile(rf"\*|{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")
_VERSION = re.compile(r'(?<!W/)"([1-9][0-9]{0,9})"')


@dataclass(frozen=True, slots=True)
class Caller:
    """What the headers say. `key`: the Idempotency-Key, if there is one; `condition`: If-Match."""

    tenant: str
    actor: str
    key: str | None
    traceparent: str
    condition: Condition | None = None

    def identity(self, operation: str, resource: str, body: Any) -> Identity:
        """Which command this is: under its key the same one on every instance, otherwise a fresh one. The hash
        covers the parsed request, with defaults filled in and digests for pictures, not its bytes. From here on
        every log line of the request names the command."""
        command_id = command_id_of(self.tenant, resource, self.key) if self.key else new_id()
        structlog.contextvars.bind_contextvars(command_id=command_id)
        said = {"operation": operation, "resource": resource, "body": body}
        request_hash = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return Identity(command_id, request_hash, self.tenant, self.key is not None, self.condition)

    def context(self, resource: str, command_id: str) -> Context:
        """Where the event comes from."""
        return Context(
            source=SOURCE,
            time=datetime.now(UTC),
            actor=self.actor,
            correlation_id=resource,
            causation_id=command_id,
            traceparent=self.traceparent,
        )


def caller_of(request: Request) -> Caller:
    """Raises ProblemError (400) for a malformed Idempotency-Key or If-Match."""
    keys = request.headers.getlist("Idempotency-Key")
    if len(keys) > 1 or (keys and not _KEY.fullmatch(keys[0])):
        raise ProblemError(
            "malformed-header",
            "Idempotency-Key must be one value of 1 to 255 visible ASCII characters, without a comma.",
            errors=[("Idempotency-Key", "Not 1 to 255 visible ASCII characters without a comma.")],
        )
    condition = _condition(request.headers.get("If-Match"))
    return Caller(TENANT, "anonymous", keys[0] if keys else None, traceparent(), condition)


def _condition(if_match: str | None) -> Condition | None:
    """If-Match by the strong comparison (RFC 9110, 13.1.1): a weak tag, or one that no version of ours has, never
    matches."""
    if if_match is None:
        return None
    said = if_match.strip(" \t")
    if not _IF_MATCH.fullmatch(said):
        raise ProblemError(
            "malformed-header",
            'If-Match must be the version of the job as an entity tag, as in "3", or *.',
            errors=[("If-Match", 'Not a list of entity tags such as "3", and not *.')],
        )
    if said == "*":
        return Condition(any=True)
    return Condition(frozenset(int(version) for version in _VERSION.findall(said)))
