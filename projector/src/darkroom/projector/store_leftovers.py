"""Collections of generations that nobody knows any more: of a killed replay, or from before the last one."""

import re

from darkroom.projector.projections.families import Family
from darkroom.projector.store import Store, unavailable
from darkroom.projector.store_generations import alias_of, drop


def drop_leftovers(store: Store, family: Family) -> list[int]:
    """Drops the generations that are neither live, kept, building nor carried by any projector, and returns which.
    The caller holds the replay's lease. Raises StoreUnavailable."""
    alias = alias_of(store, family)
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, family.read_models))})_g([0-9]+)")
    with unavailable():
        names = store.database.list_collection_names()
        carried = store.checkpoints.distinct("generation", {"family": family.name})
    known = {alias["live"], *alias["kept"], alias["building"], *carried}
    leftovers = sorted({int(found[1]) for name in names if (found := pattern.fullmatch(name))} - known)
    drop(store, family, leftovers)
    return leftovers
