"""For tests of a rolling deployment: this code's next version, whose fold of `jobs` adds a field."""

from collections.abc import Sequence
from dataclasses import replace

from darkroom.projector.projections import families
from darkroom.projector.projections.families import Changes, Family, Load
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import views

_VERSION = 2


def newer(family: Family) -> Family:
    """The family with `age_s` in each document of `jobs`."""

    def fold(topic: str, partitions: int, records: Sequence[Record], load: Load) -> Changes:
        changes = family.fold(topic, partitions, records, load)
        for document in changes.put.get("jobs", {}).values():
            document["age_s"] = (document["updated_at"] - document["created_at"]).total_seconds()
        return changes

    return replace(family, fold=fold)


def become_newer() -> None:
    """Makes this process one of the next version. Nothing may have imported the families before."""
    views.FOLD_VERSIONS["jobs"] = _VERSION
    families.JOBS = newer(families.JOBS)
    families.FAMILIES = (families.JOBS, families.MODELS)
