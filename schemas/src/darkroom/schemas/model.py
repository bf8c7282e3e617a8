"""The model catalogue, top-down: values, events, the catalogue as a fold, commands, decide.

One chain per model name; its events register and retire versions. The catalogue is small and is kept whole in
memory by those who need it (command API, executor). As for jobs, the chain is judged by guard fields alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from darkroom.schemas.chain import Guard
from darkroom.schemas.job import Identity, Refusal, Why


@dataclass(frozen=True, slots=True)
class Description:
    """What a model says of itself; see docs/models.md for each field.

    `artifact`: {"digest", "size_bytes", "format"}; `labels`: {"digest", "count"} of the label map.
    """

    name: str
    version: str
    kind: str
    runtime: str
    source: Mapping[str, Any]
    artifact: Mapping[str, Any]
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    labels: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a model may be used from now on."""

    description: Description


@dataclass(frozen=True, slots=True)
class Retired:
    """A version may not be used for new runs. Runs accepted before keep it."""

    name: str
    version: str


ModelEvent = Registered | Retired


@dataclass(frozen=True, slots=True)
class Entry:
    """One version in the catalogue. `request_hash`, `offset` and `chain_version` are those of its registration,
    the `retired_*` of its retirement: what a repeated command is answered with."""

    description: Description
    retired: bool
    request_hash: str
    offset: int
    chain_version: int
    retired_by: str = ""
    retired_offset: int = -1
    retired_version: int = 0


@dataclass(frozen=True, slots=True)
class ModelHead:
    """A model name: its chain, and its versions in the order of their registration."""

    tenant: str = "default"
    version: int = 0
    last_event_id: str = ""
    last_offset: int = -1
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def find(self, reference: str) -> Entry | None:
        """The entry that `name` (its newest version) or `name@version` refers to. It may be retired."""
        version = reference.partition("@")[2]
        return self.entries.get(version) if version else self.newest()

    def newest(self) -> Entry | None:
        """The version registered last that is not retired."""
        return next((e for e in reversed(list(self.entries.values())) if not e.retired), None)


def evolve(head: ModelHead, guard: Guard, event: ModelEvent | None, offset: int) -> ModelHead:
    """The head after an accepted event; `event` is None where its body could not be read: the chain goes on,
    and the body changes nothing."""
    entries = dict(head.entries)
    match event:
        case Registered(description=description):
            entries.pop(description.version, None)
            entries[description.version] = Entry(description, False, guard.request_hash, offset, guard.version)
        case Retired(version=version) if version in entries:
            entries[version] = replace(
                entries[version],
                retired=True,
                retired_by=guard.command_id,
                retired_offset=offset,
                retired_version=guard.version,
            )
        case _:
            pass
    return ModelHead(guard.tenant, guard.version, guard.event_id, offset, entries)


@dataclass(frozen=True, slots=True)
class Register:
    """Register a version; the same version with the same content again is no change."""

    description: Description


@dataclass(frozen=True, slots=True)
class Retire:
    """Retire a version."""

    name: str
    version: str


ModelCommand = Register | Retire


@dataclass(frozen=True, slots=True)
class AlreadySo:
    """Nothing to append: the catalogue already says it, since the event at `offset`."""

    offset: int
    version: int


def decide(head: ModelHead, command: ModelCommand, identity: Identity) -> ModelEvent | AlreadySo | Refusal:
    """The event to append, or why there is none. Versions are immutable: other content needs another one."""
    match command:
        case Register(description=description):
            entry = head.entries.get(description.version)
            if entry is None:
                return Registered(description)
            if entry.request_hash != identity.request_hash:
                return Refusal(
                    Why.KEY_REUSED,
                    f"Version {description.version} of model {description.name} is already registered with "
                    "another content; register a new version.",
                )
            if entry.retired:
                return Refusal(
                    Why.DELETED,
                    f"Version {description.version} of model {description.name} was retired; register a new "
                    "version.",
                )
            return AlreadySo(entry.offset, entry.chain_version)
        case Retire(name=name, version=version):
            entry = head.entries.get(version)
            if entry is None:
                return Refusal(Why.UNKNOWN, f"There is no model {name}@{version}.")
            if entry.retired and entry.retired_by == identity.command_id:
                return AlreadySo(entry.retired_offset, entry.retired_version)
            if entry.retired:
                return Refusal(Why.DELETED, f"Model {name}@{version} is already retired.")
            return Retired(name, version)
