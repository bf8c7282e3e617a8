"""What instances and clients see of the world around them; `world.py` is it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from darkroom.runtime.modelcheck.broker import Broker
from darkroom.runtime.modelcheck.judge import Judge, Request
from darkroom.runtime.modelcheck.temper import Mood


class Surroundings(Protocol):
    """One schedule's world. Instances are typed loosely here, for they know it themselves."""

    random: Random
    mood: Mood
    step: int
    broker: Broker
    judge: Judge
    clients: Any

    @property
    def instances(self) -> Sequence[Any]: ...

    def fresh_id(self) -> str: ...

    def path_of(self, number: int) -> Path | None: ...

    def say(self, line: Callable[[], str]) -> None: ...

    def count(self, what: str) -> None: ...

    def begin(self, instance: Any, request: Request, looks_first: bool) -> None: ...

    def crash(self, instance: Any) -> None: ...

    def after_start(self, instance: Any, positions: Mapping[int, int]) -> None: ...
