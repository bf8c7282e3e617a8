"""What a stack consists of, as data: each part's command line, environment and readiness."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Probe = Callable[[], bool]
"""Is the part ready? Takes a second at most."""


@dataclass(frozen=True)
class Part:
    """One process of the stack.

    `kind` is its key in the ready file's `pids`; `name` tells it from others of its kind. Parts of a lower `layer`
    are started before, and stopped after, those of a higher one.
    """

    kind: str
    name: str
    layer: int
    argv: Sequence[str]
    probe: Probe
    where: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0
