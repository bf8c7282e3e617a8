"""Events on the wire: CloudEvents 1.0 in structured JSON, with the guard fields again in Kafka headers.

Writing goes through the CloudEvents SDK. Reading is our own, for speed, and a contract test holds it against the
SDK; binary mode is read too. The content type header alone decides the mode (the SDK would choose by the mere
presence of a `ce_` header).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from cloudevents.core.bindings.kafka import to_structured_event
from cloudevents.core.v1.event import CloudEvent

from darkroom.schemas import eventdata, job, model
from darkroom.schemas.chain import Guard
from darkroom.schemas.errors import Undecodable

CONTENT_TYPE = b"application/cloudevents+json; charset=utf-8"
Headers = list[tuple[str, bytes]]

_TEXT_HEADERS = ("id", "type", "previd", "commandid", "requesthash", "tenant")
_INTEGER_HEADERS = ("streamversion", "run", "attempt")
_INTEGER_DIGITS_MAX = 9  # CloudEvents' Integer has 32 bits
GUARD_HEADERS = _TEXT_HEADERS + _INTEGER_HEADERS


@dataclass(frozen=True, slots=True)
class Context:
    """Where an event comes from: everything in the envelope that is neither guard nor data."""

    source: str
    time: datetime
    actor: str
    correlation_id: str
    causation_id: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event as read: guard, context, and its data lifted to the current version of its type."""

    guard: Guard
    source: str
    time: datetime
    data: dict[str, Any]
    attributes: dict[str, Any]

    @property
    def event(self) -> Any:
        """The typed event (job.Event or model.ModelEvent). Raises Undecodable, also where it speaks of another
        run, attempt or model than its guard."""
        event = eventdata.load(self.guard.type, self.data)
        match event:
            case model.Registered(description=model.Description(name=name)) | model.Retired(name=name):
                if name != self.guard.key:
                    raise Undecodable(f"the data speaks of model {name!r}, the key of {self.guard.key!r}")
            case _:
                if job.run_and_attempt(event) != (self.guard.run, self.guard.attempt):
                    raise Undecodable(f"the data speaks of another run or attempt than {self.guard}")
        return event


def rfc3339(time: datetime) -> str:
    """UTC with milliseconds and a `Z`, the precision that BSON keeps."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(guard: Guard, event: job.Event | model.ModelEvent, context: Context) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of the record for an event. Raises ValueError if its data holds a NaN."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": guard.event_id,
        "source": context.source,
        "type": guard.type,
        "subject": guard.key,
        "time": context.time.astimezone(UTC),
        "datacontenttype": "application/json",
        "dataschema": f"urn:darkroom:schema:{guard.type}",
        "partitionkey": guard.key,
        "streamversion": guard.version,
        "previd": guard.prev_id,
        "commandid": guard.command_id,
        "requesthash": guard.request_hash,
        "run": guard.run,
        "attempt": guard.attempt,
        "correlationid": context.correlation_id,
        "causationid": context.causation_id,
        "actor": context.actor,
        "tenant": guard.tenant,
    }
    if context.traceparent:
        attributes["traceparent"] = context.traceparent
    message = to_structured_event(CloudEvent(attributes, eventdata.dump(event)))
    try:
        orjson.loads(message.value)  # the SDK writes NaN, which is not JSON
    except orjson.JSONDecodeError as error:
        raise ValueError(f"event data of {guard.type} is not JSON: {error}") from None
    return guard.key.encode(), message.value, [("content-type", CONTENT_TYPE), *guard_headers(guard)]


def guard_headers(guard: Guard) -> Headers:
    """The guard fields as Kafka headers."""
    return [
        ("id", guard.event_id.encode()),
        ("type", guard.type.encode()),
        ("streamversion", str(guard.version).encode()),
        ("previd", guard.prev_id.encode()),
        ("commandid", guard.command_id.encode()),
        ("requesthash", guard.request_hash.encode()),
        ("run", str(guard.run).encode()),
        ("attempt", str(guard.attempt).encode()),
        ("tenant", guard.tenant.encode()),
    ]


def read_guard(key: bytes | None, headers: Headers | None) -> Guard:
    """The guard of a record, from key and headers alone (`ce_` headers, where the record is in binary mode and
    has no others). Raises Undecodable."""
    if not key or not headers:
        raise Undecodable("the record has no key or no headers")
    found = dict(headers)
    try:
        if not _is_structured(found):
            found = {name[3:]: value for name, value in headers if name.startswith("ce_")} | found
        guard = Guard(
            key=key.decode(),
            event_id=found["id"].decode(),
            type=found["type"].decode(),
            version=_integer(found["streamversion"]),
            prev_id=found["previd"].decode(),
            command_id=found["commandid"].decode(),
            request_hash=found["requesthash"].decode(),
            tenant=found["tenant"].decode(),
            run=_integer(found["run"]),
            attempt=_integer(found["attempt"]),
        )
    except KeyError as error:
        raise Undecodable(f"guard header {error} is missing") from None
    except (UnicodeDecodeError, ValueError, AttributeError, TypeError) as error:
        raise Undecodable(f"a guard header cannot be read: {error}") from None
    if not (guard.event_id and guard.type and guard.tenant):
        raise Undecodable("id, type or tenant is empty")
    return guard


def _is_structured(headers: Mapping[str, bytes]) -> bool:
    return headers.get("content-type", b"").lower().startswith(b"application/cloudevents+json")


def _integer(digits: bytes) -> int:
    """Bounded, for a number that no database could hold would stop every fold. Raises ValueError."""
    if not digits.isdigit() or len(digits) > _INTEGER_DIGITS_MAX:
        raise ValueError(f"{digits[:20]!r} is no integer of at most {_INTEGER_DIGITS_MAX} digits")
    return int(digits)


Upcaster = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]
UPCASTERS: dict[str, Upcaster] = {}
"""From an old event type to the next one and its data: pure, one per step. None is needed so far."""


def upcast(event_type: str, data: dict[str, Any], upcasters: Mapping[str, Upcaster]) -> tuple[str, dict[str, Any]]:
    """Lifts data step by step to a type that no upcaster lifts further."""
    for _ in range(len(upcasters) + 1):
        step = upcasters.get(event_type)
        if step is None:
            return event_type, data
        event_type, data = step(data)
    raise Undecodable(f"the upcasters of {event_type} run in a circle")


def read_envelope(
    guard: Guard, value: bytes | None, headers: Headers, upcasters: Mapping[str, Upcaster] = UPCASTERS
) -> Envelope:
    """The whole event of a record whose guard was read. Raises Undecodable, also where body and headers
    contradict each other."""
    attributes, data = _attributes_and_data(value, headers)
    if attributes.get("specversion") != "1.0":
        raise Undecodable(f"specversion {attributes.get('specversion')!r}")
    for name, expected in _stated_by(guard).items():
        if attributes.get(name, "") != expected:
            raise Undecodable(f"attribute {name} is {attributes.get(name)!r}, its header says {expected!r}")
    source, time = attributes.get("source"), attributes.get("time")
    if not isinstance(source, str) or not source or not isinstance(time, str):
        raise Undecodable("source or time is missing")
    if not isinstance(data, dict):
        raise Undecodable("data is not an object")
    try:
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is None:
            raise Undecodable(f"time {time!r} has no offset")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Undecodable(f"time {time!r} is not RFC 3339") from None
    try:
        lifted_type, lifted = upcast(guard.type, data, upcasters)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Undecodable(f"the data of {guard.type} cannot be lifted: {error!r}") from None
    if lifted_type not in eventdata.SCHEMAS:
        raise Undecodable(f"unknown event type {guard.type!r}")
    if (lifted.get("run", guard.run), lifted.get("attempt", guard.attempt)) != (guard.run, guard.attempt):
        raise Undecodable(f"the data speaks of another run or attempt than {guard}")
    if lifted_type != guard.type:
        guard = replace(guard, type=lifted_type)
    return Envelope(guard, source, moment, lifted, attributes)


def _stated_by(guard: Guard) -> dict[str, Any]:
    return {
        "id": guard.event_id,
        "type": guard.type,
        "subject": guard.key,
        "streamversion": guard.version,
        "previd": guard.prev_id,
        "commandid": guard.command_id,
        "requesthash": guard.request_hash,
        "run": guard.run,
        "attempt": guard.attempt,
        "tenant": guard.tenant,
    }


def _attributes_and_data(value: bytes | None, headers: Headers) -> tuple[dict[str, Any], Any]:
    if not value:
        raise Undecodable("the record has no value")
    try:
        body = orjson.loads(value)
        if _is_structured(dict(headers)):
            if not isinstance(body, dict):
                raise Undecodable("the event is not a JSON object")
            data = body.pop("data", None)
            for name, attribute in body.items():
                if type(attribute) is not str:
                    _check_attribute(name, attribute)
            return body, data
        attributes: dict[str, Any] = {
            n[3:]: _integer(v) if n[3:] in _INTEGER_HEADERS else v.decode()
            for n, v in headers
            if n.startswith("ce_")
        }
        if content_type := dict(headers).get("content-type"):
            attributes["datacontenttype"] = content_type.decode()
        return attributes, body
    except (orjson.JSONDecodeError, UnicodeDecodeError, ValueError, AttributeError) as error:
        raise Undecodable(f"the value cannot be read: {error}") from None


def _check_attribute(name: str, value: Any) -> None:
    """CloudEvents' attributes are strings, 32-bit integers or booleans; nothing else may reach a database."""
    if isinstance(value, str | int) and not (isinstance(value, int) and abs(value) >= 2**31):
        return
    raise Undecodable(f"attribute {name[:40]} is not a string, an integer or a boolean")
