"""The register of planted faults: the real code with one thing wrong, so that the check proves that it notices."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

Plant = Callable[[ExitStack], None]
FAULTS: dict[str, Plant] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While it lasts, the code has this fault."""
    with ExitStack() as stack:
        FAULTS[name](stack)
        yield


def fault(plant: Plant) -> Plant:
    FAULTS[plant.__name__] = plant
    return plant


def change(stack: ExitStack, target: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(target, name, value))
