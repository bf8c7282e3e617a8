"""`darkroom tail`: the log in lines, read from the broker itself."""

import os
import signal
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli.connect import find_stack
from darkroom.cli.plainly import plainly, refused
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.schemas.chain import short_type
from darkroom.simulator import tail as log_tail
from darkroom.simulator.tail import Line, Wanted

COLOURS = {
    "created": "bright_black",
    "queued": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "deleted": "bright_black",
    "void": "bright_black",
}
CONNECT_TIMEOUT_S = 10.0


def tail(
    as_json: Annotated[bool, typer.Option("--json", help="The raw CloudEvents, one per line.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="From a time (RFC 3339), a span ago (10m) or a position; else from the beginning."),
    ] = None,
    job: Annotated[str, typer.Option(help="Only this job; the beginning of its id will do.")] = "",
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type, as in created; repeatable.")
    ] = None,
    follow: Annotated[bool, typer.Option(help="Go on with what comes.")] = True,
    void: Annotated[bool, typer.Option("--void", help="Also events that lost a race.")] = False,
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to read.")] = None,
) -> None:
    """Print one line per event of the jobs' log, and go on with what comes."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `darkroom tail | head` ends as quietly as cat does
    with plainly(), ExitStack() as closing:
        stack = find_stack(ready_file, needs=("kafka",))
        log = KafkaLog(stack.kafka, stack.topics["jobs"], connect_timeout_s=CONNECT_TIMEOUT_S)
        closing.callback(log.close, 1.0)
        try:
            since_ms, offsets = log_tail.since(since, log, datetime.now(UTC)) if since is not None else (0, ())
        except ValueError as error:
            raise refused(f"--since: {error}") from None
        wanted = Wanted(since_ms, offsets, job, frozenset(short_type(t) for t in types or []), void)
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        try:
            for line in log_tail.lines(log, wanted, follow=follow):
                typer.echo(line.json() if as_json else painted(line) if coloured else line.text(), color=coloured)
                sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def painted(line: Line) -> str:
    """The line with its status in colour."""
    text = line.text().removesuffix(line.status)
    return text + typer.style(line.status, fg=COLOURS.get(line.status), bold=line.status == "failed")
