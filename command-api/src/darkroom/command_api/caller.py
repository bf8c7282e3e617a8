"""Who asks, and what makes two requests the same: headers, command ids, request hashes."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Request

from darkroom.runtime.http.observe import traceparent
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.ids import command_id_of, new_id
from darkroom.schemas.job import Identity
from darkroom.schemas.wire import Context

SOURCE = "urn:darkroom:command-api"
TENANT = "default"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Caller:
    """What the headers say. `key`: the Idempotency-Key, if there is one."""

    tenant: str
    actor: str
    key: str | None
    traceparent: str

    def identity(self, operation: str, resource: str, body: Any) -> Identity:
        """Which command this is: under its key the same one on every instance, otherwise a fresh one. The hash
        covers the parsed request, with defaults filled in and digests for pictures, not its bytes."""
        command_id = command_id_of(self.tenant, resource, self.key) if self.key else new_id()
        said = {"operation": operation, "resource": resource, "body": body}
        request_hash = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return Identity(command_id, request_hash, self.tenant, keyed=self.key is not None)

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
    """Raises ProblemError for a malformed Idempotency-Key, and for If-Match, which is not taken yet: to ignore it
    could overwrite what the client wanted to keep."""
    keys = request.headers.getlist("Idempotency-Key")
    if len(keys) > 1 or (keys and not _KEY.fullmatch(keys[0])):
        raise ProblemError(
            "malformed-header",
            "Idempotency-Key must be one value of 1 to 255 visible ASCII characters.",
            errors=[("Idempotency-Key", "Not 1 to 255 visible ASCII characters.")],
        )
    if "If-Match" in request.headers:
        raise ProblemError(
            "not-supported-yet",
            "If-Match on commands is not supported yet.",
            errors=[("If-Match", "Not supported yet.")],
        )
    return Caller(TENANT, "anonymous", keys[0] if keys else None, traceparent())
