"""The outcome of one check."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    GOOD = "ok"
    LACKING = "lacking"
    """Something works less well, or some tests cannot pass; the stack runs."""
    BROKEN = "BROKEN"
    """The stack cannot run, or does not."""


@dataclass(frozen=True)
class Finding:
    """`mend` says what to do, "" where all is well."""

    what: str
    state: State
    detail: str
    mend: str = ""


Check = Callable[[], Finding]


def good(what: str, detail: str) -> Finding:
    return Finding(what, State.GOOD, detail)


def lacking(what: str, detail: str, mend: str) -> Finding:
    return Finding(what, State.LACKING, detail, mend)


def broken(what: str, detail: str, mend: str) -> Finding:
    return Finding(what, State.BROKEN, detail, mend)
