"""A database that holds the read models as they were: made whole, or not to be seen as finished."""

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

from darkroom.projector.projections.families import JOBS, Family
from darkroom.projector.store import Store, unavailable
from darkroom.projector.store_generations import FIRST, checkpoints_at, first_alias
from darkroom.schemas.views import collection

_MARK = "_as_of_"
_DATABASE_CHARACTERS_MAX = 28
"""MongoDB takes names of up to 63 bytes, and a moment's name has up to 28."""


def past_database(database: str, moment: str) -> str:
    """The name of the database for a moment of the past of another one."""
    return _prefix(database) + moment


def pasts_of(store: Store) -> list[str]:
    """The databases that hold moments of this one's past. Raises StoreUnavailable."""
    with unavailable():
        return sorted(n for n in store.client.list_database_names() if n.startswith(_prefix(store.database.name)))


def drop_past(past: Store) -> bool:
    """Drops it; False if there is none. Raises StoreUnavailable."""
    name = past.database.name
    assert _MARK in name, "never a database that somebody lives on"
    with unavailable():
        there = name in past.client.list_database_names()
        past.client.drop_database(name)
        return there


def finish_past(past: Store, built: Mapping[Family, tuple[str, str, Mapping[int, int]]]) -> None:
    """Notes what was built, by family its topic, topic id and vector: checkpoints first, the aliases last, without
    which no reader finds anything. Raises StoreUnavailable."""
    now = datetime.now(UTC)
    with unavailable():
        for family, (topic, topic_id, vector) in built.items():
            checkpoints = checkpoints_at(family, FIRST, topic, topic_id, vector)
            past.checkpoints.insert_many([c | {"end_seen_at": now} for c in checkpoints])
        past.generations.insert_many([first_alias(family) for family in built])


def jobs_by_status(past: Store) -> dict[str, int]:
    """How many jobs there were, by status. Raises StoreUnavailable."""
    with unavailable():
        jobs = past.database[collection(JOBS.name, FIRST)]
        return {f["_id"]: f["jobs"] for f in jobs.aggregate([{"$group": {"_id": "$status", "jobs": {"$sum": 1}}}])}


def _prefix(database: str) -> str:
    if len(database) > _DATABASE_CHARACTERS_MAX:
        database = f"{database[: _DATABASE_CHARACTERS_MAX - 9]}_{zlib.crc32(database.encode()):08x}"
    return database + _MARK
