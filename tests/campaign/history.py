"""What clients asked and were answered, and what stands in the log: plain values, kept as JSON lines.

Times: `*_s` are seconds on this machine's monotonic clock, `*_wall_ms` milliseconds since 1970, the clock that also
stamps the log's records.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CREATE, RUN, CANCEL, DELETE = "create", "run", "cancel", "delete"


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one instance, and its answer. `status` is None if none came: then, as after a 503, nobody
    knows whether it took effect.

    `variant` tells bodies of one operation apart, and shows in the event that the request makes. `if_match` is the
    header as sent. `body` holds of the answer what the checker looks at.
    """

    number: int
    instance: int
    op: str
    method: str
    job_id: str
    key: str | None
    variant: str
    if_match: str | None
    wait_s: int
    begin_s: float
    begin_wall_ms: int
    end_s: float
    end_wall_ms: int
    status: int | None
    body: Mapping[str, Any]
    retry_after: str | None = None
    location: str | None = None
    error: str = ""

    @property
    def indeterminate(self) -> bool:
        return self.status is None or self.status == 503


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log. `data`: of the event's body, what tells variants apart. `seen_s`: when a reader that
    followed the log had it, if one did."""

    partition: int
    offset: int
    key: str
    headers: Mapping[str, str]
    data: Mapping[str, Any]
    timestamp_ms: int
    seen_s: float | None = None


def write_lines(path: Path, items: Iterable[Call | LogRecord]) -> None:
    """Appends items to a file, one JSON object a line."""
    with path.open("a") as file:
        for item in items:
            file.write(json.dumps(asdict(item), separators=(",", ":")) + "\n")


def read_calls(path: Path) -> list[Call]:
    """The calls that `write_lines` has written."""
    return [Call(**json.loads(line)) for line in path.read_text().splitlines()]


def read_records(path: Path) -> list[LogRecord]:
    """The records that `write_lines` has written."""
    return [LogRecord(**json.loads(line)) for line in path.read_text().splitlines()]
