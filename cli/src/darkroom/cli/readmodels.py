"""The read models of a stack in MongoDB, as the commands that work on them find them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from darkroom.cli.connect import Stack
from darkroom.projector.projections.families import Family
from darkroom.projector.store import Fenced, Store
from darkroom.projector.store_generations import alias_of


@contextmanager
def opened_store(stack: Stack, database: str | None = None) -> Iterator[Store]:
    """The read models of the stack, or those in another database; closed afterwards. Raises ValueError for an
    address or a name that cannot be used."""
    store = Store(stack.mongodb, database or stack.mongodb_database)
    try:
        yield store
    finally:
        store.close()


def require(store: Store, families: Iterable[Family]) -> None:
    """Raises ValueError, with a sentence, where no projector has ever made these read models, StoreUnavailable."""
    for family in families:
        try:
            alias_of(store, family)
        except Fenced:
            raise ValueError(
                f"no read models of {family.name} in database {store.database.name} yet: has a projector run? is "
                "DARKROOM_MONGODB_DATABASE right?"
            ) from None
