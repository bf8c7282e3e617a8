"""Events on the wire: CloudEvents 1.0 in structured JSON, with the guard fields again in Kafka headers.

Writing goes through the CloudEvents SDK. Reading is our own, for speed, and a contract test holds it against the
SDK; binary mode is read too. The content type header alone decides the mode (the SDK would choose by the mere
presence of a `ce_` header).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import orjson
from cloudevents.core.bindings.kafka import to_structured_event
from cloudevents.core.v1.event import CloudEvent

from darkroom.schemas import eventdata, job, model
from darkroom.schemas.chain import Guard
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.upcasting import VERSIONS, Versions

CONTENT_TYPE = b"application/cloudevents+json; charset=utf-8"
Headers = list[tuple[str, bytes]]

_TEXT_HEADERS = ("id", "type", "previd", "commandid", "requesthash", "tenant")
_INTEGER_HEADERS = ("streamversion", "run", "attempt")
_INTEGER_DIGITS_MAX = 9  # CloudEvents' Integer has 32 bits
GUARD_HEADERS = _TEXT_HEADERS + _INTEGER_HEADERS
_OUR_CONTENT_TYPE = ("content-type", CONTENT_TYPE)
_SMALL = {b"%d" % n: n for n in range(1000)}


@dataclass(frozen=True, slots=True)
class Context:
    """Where an event comes from: everything in the envelope that is neither guard nor data."""

    source: str
    time: datetime
    actor: str
    correlation_id: str
    causation_id: str
    traceparent: str | None = None


class _Whole(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The attributes of an event as `encode` writes it, checked as they are parsed. What does not fit is read the
    slow way, which knows all that CloudEvents allow and says what is wrong."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    dataschema: str
    partitionkey: str
    streamversion: int
    previd: str
    commandid: str
    requesthash: str
    run: int
    attempt: int
    correlationid: str
    causationid: str
    actor: str
    tenant: str
    data: msgspec.Raw
    traceparent: str = ""


class Envelope(NamedTuple):
    """One event as read: guard, context, and its data lifted to the current version of its type."""

    guard: Guard
    source: str
    time: datetime
    data: dict[str, Any]
    whole: "_Whole | dict[str, Any]"

    @property
    def attributes(self) -> dict[str, Any]:
        """All attributes by name, as they were read: strings, integers and booleans."""
        if isinstance(self.whole, dict):
            return self.whole
        attributes = msgspec.structs.asdict(self.whole)
        del attributes["data"]
        if not self.whole.traceparent:
            del attributes["traceparent"]
        return attributes

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
    try:
        found = dict(headers)
        if found.get("content-type") != CONTENT_TYPE and not _is_structured(found):
            found = {name[3:]: value for name, value in headers if name.startswith("ce_")} | found
        version, run, attempt = found["streamversion"], found["run"], found["attempt"]
        guard = Guard(
            key.decode(),
            found["id"].decode(),
            found["type"].decode(),
            _SMALL[version] if version in _SMALL else _integer(version),
            found["previd"].decode(),
            found["commandid"].decode(),
            found["requesthash"].decode(),
            found["tenant"].decode(),
            _SMALL[run] if run in _SMALL else _integer(run),
            _SMALL[attempt] if attempt in _SMALL else _integer(attempt),
        )
    except KeyError as error:
        raise Undecodable(f"guard header {error} is missing") from None
    except (UnicodeDecodeError, ValueError, AttributeError, TypeError) as error:
        raise Undecodable(f"a guard header cannot be read: {error}") from None
    if not (guard.event_id and guard.type and guard.tenant):
        raise Undecodable("id, type or tenant is empty")
    return guard


def is_structured(headers: Headers) -> bool:
    """Whether the value of a record whose guard was read is the whole event."""
    if headers[0] == _OUR_CONTENT_TYPE and len(headers) == len(GUARD_HEADERS) + 1:
        return True  # no room for another content type beside the guard
    return _is_structured(dict(headers))


def _is_structured(headers: Mapping[str, bytes]) -> bool:
    return headers.get("content-type", b"").lower().startswith(b"application/cloudevents+json")


def _integer(digits: bytes) -> int:
    """Bounded, for a number that no database could hold would stop every fold. Raises ValueError."""
    if not digits.isdigit() or len(digits) > _INTEGER_DIGITS_MAX:
        raise ValueError(f"{digits[:20]!r} is no integer of at most {_INTEGER_DIGITS_MAX} digits")
    return int(digits)


def read_envelope(guard: Guard, value: bytes | None, headers: Headers, versions: Versions = VERSIONS) -> Envelope:
    """The whole event of a record whose guard was read. Raises Undecodable, also where body and headers
    contradict each other."""
    ours = _as_we_write_it(guard, value) if value and is_structured(headers) else None
    whole: _Whole | dict[str, Any]
    if ours is not None:
        whole, data = ours
        source, moment = whole.source, _moment(whole.time)
    else:
        whole, data = _attributes_and_data(value, headers)
        source, moment = _checked(guard, whole)
    if type(data) is not dict:
        raise Undecodable("data is not an object")
    lifted_type, lifted = versions.lift(guard.type, data)
    if lifted.get("run", guard.run) != guard.run or lifted.get("attempt", guard.attempt) != guard.attempt:
        raise Undecodable(f"the data speaks of another run or attempt than {guard}")
    if lifted_type != guard.type:
        guard = guard._replace(type=lifted_type)
    return Envelope(guard, source, moment, lifted, whole)


def _as_we_write_it(guard: Guard, value: bytes) -> tuple[_Whole, Any] | None:
    """Attributes and data of an event with our very attributes, which say what its headers say: nearly every event
    there is. None for any other."""
    try:
        if not value.isascii():
            value.decode()  # the parser does not look into the data, where it would have to refuse what is no text
        whole = _decode(value)
        data = orjson.loads(memoryview(whole.data))
    except (ValueError, RecursionError):
        return None
    stated = (
        whole.subject,
        whole.id,
        whole.type,
        whole.streamversion,
        whole.previd,
        whole.commandid,
        whole.requesthash,
        whole.tenant,
        whole.run,
        whole.attempt,
    )
    return (whole, data) if stated == guard and whole.specversion == "1.0" and whole.source else None


_decode = msgspec.json.Decoder(_Whole).decode


def _checked(guard: Guard, attributes: Mapping[str, Any]) -> tuple[str, datetime]:
    """Source and time of an event whose attributes say what its headers say. Raises Undecodable."""
    if attributes.get("specversion") != "1.0":
        raise Undecodable(f"specversion {attributes.get('specversion')!r:.80}")
    for name, expected in zip(_STATED, guard, strict=True):
        if attributes.get(name, "") != expected:
            raise Undecodable(
                f"attribute {name} is {attributes.get(name)!r:.200}, its header says {expected!r:.200}"
            )
    source, time = attributes.get("source"), attributes.get("time")
    if not isinstance(source, str) or not source or not isinstance(time, str):
        raise Undecodable("source or time is missing")
    return source, _moment(time)


_STATED = (
    "subject",
    "id",
    "type",
    "streamversion",
    "previd",
    "commandid",
    "requesthash",
    "tenant",
    "run",
    "attempt",
)
"""What a body says of its guard, in the guard's order."""


def _moment(time: str) -> datetime:
    try:
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is UTC:
            return moment
        if moment.tzinfo is None:
            raise Undecodable(f"time {time!r:.80} has no offset")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Undecodable(f"time {time!r:.80} is not RFC 3339") from None


def _attributes_and_data(value: bytes | None, headers: Headers) -> tuple[dict[str, Any], Any]:
    if not value:
        raise Undecodable("the record has no value")
    try:
        body = orjson.loads(value)
        if is_structured(headers):
            if type(body) is not dict:
                raise Undecodable("the event is not a JSON object")
            data = body.pop("data", None)
            for name, attribute in body.items():
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
