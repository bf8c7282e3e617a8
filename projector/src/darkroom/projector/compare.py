"""The live documents against the rebuilt ones: counts, checksums, and what differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import bson

from darkroom.projector.checksum import Checksum

Document = dict[str, Any]
EXAMPLES_MAX = 10
FIELDS_MAX = 10


@dataclass(frozen=True, slots=True)
class Example:
    """A document that differs. `fields`: (path, live value, rebuilt value); empty where one side is missing."""

    id: str
    what: str
    fields: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(slots=True)
class Comparison:
    """One read model: the live generation against the log. `missing`: in the log only; `extra`: live only.
    `altered`: ids that differ, a few, by partition; for `examples`, which have their fields."""

    read_model: str
    live: Checksum = field(default_factory=Checksum)
    rebuilt: Checksum = field(default_factory=Checksum)
    missing: int = 0
    extra: int = 0
    changed: int = 0
    examples: list[Example] = field(default_factory=list)
    altered: list[tuple[int, str]] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Same number of documents, same checksum."""
        return self.live == self.rebuilt

    @property
    def examples_left(self) -> int:
        """How many more are worth showing."""
        return EXAMPLES_MAX - len(self.examples) - len(self.altered)


class Entries(Protocol):
    """See tally.Spool."""

    def entries(self, place: tuple[int, str]) -> Iterator[tuple[str, bytes]]:
        """Ids and digests of a partition's documents of a read model."""


def compare(
    read_models: Sequence[str],
    live: Mapping[tuple[int, str], Checksum],
    live_entries: Entries,
    rebuilt: Mapping[tuple[int, str], Checksum],
    rebuilt_entries: Entries,
) -> list[Comparison]:
    """Sums by (partition, read model) against each other; only where they differ, document against document.
    Memory: about 200 bytes per document of one partition and read model that differs."""
    comparisons = {m: Comparison(m) for m in read_models}
    for place in sorted(live.keys() | rebuilt.keys()):
        comparison = comparisons[place[1]]
        a, b = live.get(place, Checksum()), rebuilt.get(place, Checksum())
        comparison.live += a
        comparison.rebuilt += b
        if a != b:
            _look_closer(comparison, place, live_entries, rebuilt_entries)
    return list(comparisons.values())


def _look_closer(comparison: Comparison, place: tuple[int, str], live: Entries, rebuilt: Entries) -> None:
    unseen = dict(live.entries(place))
    for id, digest in rebuilt.entries(place):
        found = unseen.pop(id, None)
        if found is None:
            comparison.missing += 1
            if comparison.examples_left > 0:
                comparison.examples.append(Example(id, "is in the log, but not in the read model"))
        elif found != digest:
            comparison.changed += 1
            if comparison.examples_left > 0:
                comparison.altered.append((place[0], id))
    comparison.extra += len(unseen)
    for id in sorted(unseen)[: max(0, comparison.examples_left)]:
        comparison.examples.append(Example(id, "is in the read model, but not in the log"))


def id_of(document: bytes) -> str:
    """The `_id` of a document, which MongoDB puts first: length, type, "_id", and then, in all of ours, a text. Of
    one that somebody else made, whatever stands there, written out."""
    if document[4:9] == b"\x02_id\x00":
        length = int.from_bytes(document[9:13], "little")
        return document[13 : 12 + length].decode("utf-8", "replace")
    return repr(bson.decode(document).get("_id"))


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
