"""Read model `models`: one document per model name, with its versions in the order of their registration."""

from datetime import datetime

from darkroom.projector.projections.plain import mapping, moment, plain, size_of, text
from darkroom.projector.projections.step import Document, Step, take
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import Guard, short_type
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.upcasting import Versions
from darkroom.schemas.wire import Envelope

VERSIONS_MAX = 1_000
DESCRIPTION_SIZE_BYTES_MAX = 12 * 2**10
"""Together they keep a model's document under MongoDB's 16 MiB."""


def fold_model(before: Document | None, guard: Guard, record: Record, versions: Versions) -> Step:
    """What one record of its partition does to a model. Void events leave no trace in it."""
    return take(before, guard, record, versions, accepted=_accepted, void=_void, chain_only=_chain_only)


def _accepted(before: Document | None, envelope: Envelope, record: Record) -> Document:
    model = _chain_only(before, envelope.guard, record)
    time, kind = moment(envelope.time), short_type(envelope.guard.type)
    match kind:
        case "registered":
            version = _registered(mapping(envelope.data["description"]), time)
            others = [v for v in model["versions"] if v["version"] != version["version"]]
            if len(others) >= VERSIONS_MAX:
                raise Undecodable(f"the model has {VERSIONS_MAX} versions already")
            return model | {"versions": [*others, version]}
        case "retired":
            retired = text(envelope.data["version"])
            return model | {
                "versions": [
                    v | {"status": "retired", "retired_at": time} if v["version"] == retired else v
                    for v in model["versions"]
                ]
            }
        case _:
            raise Undecodable(f"no fold for events of the type {kind!r}")


def _void(before: Document | None, _envelope: Envelope, _record: Record) -> Document:
    assert before is not None
    return before


def _chain_only(before: Document | None, guard: Guard, record: Record) -> Document:
    return {
        "_id": guard.key,
        "tenant": before["tenant"] if before else guard.tenant,
        "partition": record.partition,
        "position": record.offset,
        "version": guard.version,
        "last_event_id": guard.event_id,
        "versions": before["versions"] if before else [],
    }


def _registered(description: Document, time: datetime) -> Document:
    if size_of(description) > DESCRIPTION_SIZE_BYTES_MAX:
        raise Undecodable(f"the description takes more than {DESCRIPTION_SIZE_BYTES_MAX} bytes")
    return {
        "version": text(description["version"]),
        "status": "active",
        "digest": text(mapping(description["artifact"])["digest"]),
        "kind": text(description["kind"]),
        "runtime": text(description["runtime"]),
        **{name: plain(mapping(description[name])) for name in ("source", "artifact", "input", "output", "labels")},
        "registered_at": time,
        "retired_at": None,
    }
