"""MongoDB's errors as those of the domain."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from pymongo.errors import OperationFailure, PyMongoError

from darkroom.schemas.errors import StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")
# QueryPlanKilled, CursorKilled: the collection was dropped under the query. SnapshotUnavailable: it was just made.
_QUERY_KILLED = frozenset({175, 237, 246})


class GenerationGone(Exception):
    """The generation was dropped while it was read; read the alias again."""


def guarded(read: Callable[P, R]) -> Callable[P, R]:
    """Lets nothing of pymongo out. Raises StoreUnavailable or GenerationGone."""

    @functools.wraps(read)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with translated():
            return read(*args, **kwargs)

    return call


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        if error.code in _QUERY_KILLED:
            raise GenerationGone from None
        raise StoreUnavailable(f"MongoDB refused a query (code {error.code})") from error
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB does not answer ({type(error).__name__})") from error
