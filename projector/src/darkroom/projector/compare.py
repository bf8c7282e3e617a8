"""The live documents against the rebuilt ones: counts, checksums, and what differs."""

from dataclasses import dataclass, field
from typing import Any

from darkroom.projector.checksum import Checksum, digest

Document = dict[str, Any]
EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True)
class Example:
    """A document that differs. `fields`: (path, live value, rebuilt value); empty where one side is missing."""

    id: str
    what: str
    fields: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(slots=True)
class Comparison:
    """One read model: the live generation against the log. `missing`: in the log only; `extra`: live only."""

    read_model: str
    live: Checksum = field(default_factory=Checksum)
    rebuilt: Checksum = field(default_factory=Checksum)
    missing: int = 0
    extra: int = 0
    changed: int = 0
    examples: list[Example] = field(default_factory=list)
    _unseen: dict[bytes, int] = field(default_factory=dict, repr=False)

    @property
    def equal(self) -> bool:
        """Same number of documents, same checksum."""
        return self.live == self.rebuilt

    def see_live(self, document: bytes) -> None:
        """Takes in a live document. Memory: about 200 bytes per document until its counterpart is seen."""
        self.live.add(document)
        self._unseen[id_of(document)] = digest(document)

    def see_rebuilt(self, document: bytes) -> str | None:
        """Takes in a rebuilt document; "missing" or "changed" if the live one is not its equal."""
        self.rebuilt.add(document)
        live = self._unseen.pop(id_of(document), None)
        if live is None:
            self.missing += 1
            return "missing"
        if live != digest(document):
            self.changed += 1
            return "changed"
        return None

    def finish(self) -> None:
        """After the last document: what was not seen again is extra."""
        self.extra = len(self._unseen)
        for id in sorted(self._unseen)[: max(0, EXAMPLES_MAX - len(self.examples))]:
            self.examples.append(Example(id.decode(), "is in the read model, but not in the log"))
        self._unseen.clear()


def id_of(document: bytes) -> bytes:
    """The `_id` of a document that begins with it, as ours do: length, type 2 (string), "_id", length, text."""
    assert document[4:9] == b"\x02_id\x00"
    length = int.from_bytes(document[9:13], "little")
    return document[13 : 12 + length]


def differing_fields(live: Any, rebuilt: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """The paths at which two documents differ, with both values."""
    if isinstance(live, dict) and isinstance(rebuilt, dict):
        return [
            difference
            for key in [*live, *(k for k in rebuilt if k not in live)]
            for difference in differing_fields(live.get(key), rebuilt.get(key), f"{path}.{key}" if path else key)
        ]
    if isinstance(live, list) and isinstance(rebuilt, list) and len(live) == len(rebuilt):
        return [
            difference
            for i, (a, b) in enumerate(zip(live, rebuilt, strict=True))
            for difference in differing_fields(a, b, f"{path}[{i}]")
        ]
    return [] if live == rebuilt else [(path, live, rebuilt)]
