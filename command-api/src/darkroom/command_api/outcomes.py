"""Counts commands by what became of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import Counter

from darkroom.runtime.http.errors import as_problem
from darkroom.runtime.protocol import Accepted

COMMANDS = Counter(
    "darkroom_commands_total",
    "Commands by outcome: accepted, repeated, or a problem's name",
    ["command", "outcome"],
)


class Counted:
    """Hand it the accepted command; an exception counts as its problem."""

    def __init__(self) -> None:
        self.accepted: Accepted | None = None

    def __call__(self, accepted: Accepted) -> Accepted:
        self.accepted = accepted
        return accepted


@contextmanager
def counted(command: str, **subject: str) -> Iterator[Counted]:
    """Counts one command. From here on the log lines of the request name its subject (`job_id=…` or `model=…`), and
    in the end its outcome."""
    structlog.contextvars.bind_contextvars(**subject)
    outcome = Counted()
    try:
        yield outcome
    except Exception as error:
        name = as_problem(error).kind.name
        COMMANDS.labels(command, name).inc()
        structlog.contextvars.bind_contextvars(command=command, outcome=name)
        raise
    accepted = outcome.accepted
    assert accepted is not None, "what raises nothing was accepted"
    result = "repeated" if accepted.repeated else "accepted"
    COMMANDS.labels(command, result).inc()
    structlog.contextvars.bind_contextvars(
        command=command, outcome=result, partition=accepted.partition, offset=accepted.offset
    )
