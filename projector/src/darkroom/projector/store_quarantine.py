"""What the live generation has in quarantine, read for a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from darkroom.projector.projections.families import Family
from darkroom.projector.store import Store, unavailable, under
from darkroom.projector.store_generations import live_generation
from darkroom.schemas.views import FAMILIES, QUARANTINES, collection

Document = dict[str, Any]
_ORDER = [("partition", 1), ("offset", 1)]
_LATER_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What became of the aggregate behind a quarantined record. `status`: where a job stands now, "" for a model;
    None: the aggregate has no document. `timeline`: later events that were folded, as its document has them (the
    newest); `quarantined`: later records of it in quarantine too, without their values, at most a thousand."""

    status: str | None
    timeline: list[Document]
    quarantined: list[Document]


def count(store: Store, family: Family) -> int:
    """How many records are in quarantine. Raises Fenced, StoreUnavailable."""
    with unavailable():
        return int(_of(store, family).count_documents({}))


def listed(store: Store, family: Family, limit: int) -> list[Document]:
    """The first of them by partition and offset (views.Quarantined), without their values. Raises Fenced,
    StoreUnavailable."""
    with unavailable():
        return list(_of(store, family).find({}, {"value": 0}, sort=_ORDER, limit=limit, allow_disk_use=True))


def one(store: Store, family: Family, id: str) -> Document | None:
    """The whole document of a record ("<topic>:p<partition>:<offset>"). Raises Fenced, StoreUnavailable."""
    with unavailable():
        found: Document | None = _of(store, family).find_one({"_id": id})
        return found


def of_partition(store: Store, family: Family, topic: str, partition: int) -> Iterator[Document]:
    """Those of one partition, without values and headers. Raises Fenced, StoreUnavailable."""
    here = {"_id": under(f"{topic}:p{partition}")}
    with unavailable():
        yield from _of(store, family).find(here, {"value": 0, "headers": 0})


def aftermath(store: Store, family: Family, document: Document) -> Aftermath:
    """What became of the aggregate behind this record. Raises Fenced, StoreUnavailable."""
    generation = live_generation(store, family)
    job, later = document.get("job"), {"$gt": document["offset"]}
    with unavailable():
        found = store.database[collection(FAMILIES[family.name][0], generation)].find_one({"_id": job})
        quarantined = _of(store, family).find(
            {"partition": document["partition"], "job": job, "offset": later},
            {"value": 0},
            sort=_ORDER,
            limit=_LATER_MAX,
            allow_disk_use=True,
        )
        others = list(quarantined) if job is not None else []
    timeline = [e for e in (found or {}).get("timeline", ()) if e["offset"] > document["offset"]]
    return Aftermath(None if found is None else found.get("status", ""), timeline, others)


def _of(store: Store, family: Family) -> Any:
    return store.database[collection(QUARANTINES[family.name], live_generation(store, family))]
