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
_log = structlog.get_logger("darkroom.commands")


class Counted:
    """Hand it the accepted command; an exception counts as its problem."""

    def __init__(self) -> None:
        self.accepted: Accepted | None = None

    def __call__(self, accepted: Accepted) -> Accepted:
        self.accepted = accepted
        return accepted


@contextmanager
def counted(command: str, **subject: str) -> Iterator[Counted]:
    """Counts one command and logs it. From here on every line of the request names its subject: `job_id=…` or
    `model=…`."""
    structlog.contextvars.bind_contextvars(**subject)
    outcome = Counted()
    try:
        yield outcome
    except Exception as error:
        name = as_problem(error).kind.name
        COMMANDS.labels(command, name).inc()
        _log.info("command refused", command=command, problem=name)
        raise
    accepted = outcome.accepted
    result = "repeated" if accepted is not None and accepted.repeated else "accepted"
    COMMANDS.labels(command, result).inc()
    if accepted is not None:
        _log.info(
            "command " + result,
            command=command,
            partition=accepted.partition,
            offset=accepted.offset,
        )
