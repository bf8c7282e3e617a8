"""How far a replay is, for those who watch it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a replay is. `phase`: folding (events), reading (live documents, `total` estimated), joining (the
    events that are missing). `left_s`: None while it cannot be told. `held_to_per_s`: the bound that slows it down,
    if one does, and `why`."""

    phase: str
    done: int
    total: int
    per_s: float
    left_s: float | None
    held_to_per_s: float | None = None
    why: str = ""


Tell = Callable[[Moment], None]
