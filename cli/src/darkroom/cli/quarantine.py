"""`darkroom quarantine`: the records that no fold could read. There is no way to skip one: a read model is what the
log says."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from darkroom.cli.bar import told_on
from darkroom.cli.connect import find_stack
from darkroom.cli.payloads import lines_of, plain, plain_bytes
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, refused
from darkroom.cli.readmodels import opened_store, require
from darkroom.cli.stopping import stopped_like_ctrl_c
from darkroom.projector import store_quarantine
from darkroom.projector.projections.families import FAMILIES, Family
from darkroom.projector.quarantine import Verdict, look
from darkroom.projector.replay import Address, Effort, Mode
from darkroom.projector.replay import replay as run_replay
from darkroom.projector.store import Store
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import rfc3339

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 5.0
_SHOWN_MAX = 20
_TITLES = ("id", "time", "type", "key", "reason")

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The records that no fold could read.")
ReadyFile = Annotated[Path | None, typer.Option(help="The ready file of the stack to look at.")]


@dataclass(frozen=True, slots=True)
class Opened:
    """The read models, and the log of each family by its name."""

    store: Store
    logs: Mapping[str, KafkaLog]
    effort: Effort

    def record(self, family: Family, document: Mapping[str, Any]) -> Record | None:
        """The record as it stands in the log; None if it does not."""
        log = self.logs[family.name]
        if document["topic"] != log.topic:
            return None
        try:
            return log.read_one(document["partition"], document["offset"], _READ_TIMEOUT_S)
        except LogUnavailable:
            return None


@app.command("list")
def list_command(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many of each topic.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line for each.")] = False,
    ready_file: ReadyFile = None,
) -> None:
    """List what is in quarantine, by position."""
    console = Console(highlight=False, soft_wrap=True)
    with _opened(ready_file) as opened:
        rows, total = [], 0
        for family in FAMILIES:
            total += store_quarantine.count(opened.store, family)
            found = store_quarantine.listed(opened.store, family, limit)
            rows += [_row(document, opened.record(family, document)) for document in found]
    if as_json:
        for row in rows:
            typer.echo(orjson.dumps(row))
        return
    shown = [[plain(str(row[title] or "-")) for title in _TITLES] for row in rows]
    widths = [max(len(cells[n]) for cells in [list(_TITLES), *shown]) for n in range(len(_TITLES))]
    for cells in [list(_TITLES), *shown] if rows else []:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    more = f", {len(rows)} of them shown" if len(rows) < total else ""
    console.print(f"{total} in quarantine{more}")


@app.command("show")
def show_command(
    id: Annotated[str, typer.Argument(help="As `darkroom quarantine list` prints it: TOPIC:pPARTITION:OFFSET.")],
    ready_file: ReadyFile = None,
) -> None:
    """Show a record whole, why no fold could read it, and what became of its job's later events.

    Bytes are shown as text, or as a hex dump where they are none; nothing in them is sent to the terminal as it is.
    """
    with _opened(ready_file) as opened:
        for family in FAMILIES:
            document = store_quarantine.one(opened.store, family, id)
            if document is not None:
                break
        else:
            raise refused(f"{id} is not in quarantine: see `darkroom quarantine list`")
        record = opened.record(family, document)
        aftermath = store_quarantine.aftermath(opened.store, family, document)
    for line in _facts(document, record):
        typer.echo(line)
    for line in _later(document.get("job"), aftermath):
        typer.echo(line)


@app.command("retry")
def retry_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which records could be read now.")] = False,
    ready_file: ReadyFile = None,
) -> None:
    """Fold again with today's code: if it reads at least one record in quarantine, replay what is folded from that
    topic, so that views and counters are what the log says by today's code. Otherwise nothing is touched.

    Let the projectors run today's code first.
    """
    console = Console(highlight=False, soft_wrap=True)
    good = True
    with _opened(ready_file) as opened, stopped_like_ctrl_c():
        for family in FAMILIES:
            verdicts = list(look(opened.store, opened.logs[family.name], opened.logs[family.name].topic, family))
            readable = [v for v in verdicts if v.readable]
            if not verdicts:
                console.print(f"{family.name}: the quarantine is empty")
                continue
            console.print(f"{family.name}: {len(verdicts)} looked at, {len(readable)} would be readable now")
            _show_verdicts(readable, [v for v in verdicts if not v.readable])
            if not readable:
                console.print("  nothing would change")
            elif dry_run:
                console.print("  a retry would replay it; nothing was written")
            else:
                good &= _replay(console, opened, family)
    if not good:
        raise typer.Exit(EXIT_OUTCOME)


def _replay(console: Console, opened: Opened, family: Family) -> bool:
    log = opened.logs[family.name]
    with told_on(console) as tell:
        report = run_replay(
            opened.store, log, log.topic, family, Mode.REPAIR, tell, console.print, effort=opened.effort
        )
    left = store_quarantine.count(opened.store, family)
    if report.switched:
        console.print(f"  switched to generation {report.generation}, which has {left} in quarantine")
    return report.switched


@contextmanager
def _opened(ready_file: Path | None) -> Iterator[Opened]:
    with plainly(), ExitStack() as opened:
        stack = find_stack(ready_file, needs=("kafka", "mongodb"))
        logs = {}
        try:
            store = opened.enter_context(opened_store(stack))
            require(store, FAMILIES)
            for family in FAMILIES:
                log = KafkaLog(stack.kafka, stack.topics[family.name], connect_timeout_s=_CONNECT_TIMEOUT_S)
                opened.callback(log.close, 1.0)
                logs[family.name] = log
            yield Opened(store, logs, Effort(address=Address(stack.kafka, stack.mongodb, stack.mongodb_database)))
        except ValueError as error:
            raise refused(str(error)) from None


def _row(document: Mapping[str, Any], record: Record | None) -> dict[str, Any]:
    types = dict(document["headers"]).get("type")
    return {
        "id": document["_id"],
        "topic": document["topic"],
        "partition": document["partition"],
        "offset": document["offset"],
        "time": None if record is None else _time(record.timestamp_ms),
        "type": None if types is None else plain_bytes(types),
        "key": None if document["key"] is None else plain_bytes(document["key"]),
        "reason": document["reason"],
    }


def _facts(document: Mapping[str, Any], record: Record | None) -> Iterator[str]:
    yield f"id        {plain(document['_id'])}"
    yield f"position  {plain(document['topic'])}, partition {document['partition']}, offset {document['offset']}"
    yield f"time      {_time(record.timestamp_ms) if record else 'the log does not hold it any more'}"
    yield f"reason    {plain(document['reason'])}"
    yield f"key       {plain_bytes(document['key'])}"
    yield "headers"
    for name, value in document["headers"]:
        yield f"  {plain(name)}: {plain_bytes(value)}"
    value = record.value if record else document["value"]
    yield "value     none" if value is None else f"value     {len(value)} bytes"
    for line in lines_of(value or b""):
        yield f"  {line}"


def _later(job: str | None, aftermath: store_quarantine.Aftermath) -> Iterator[str]:
    if job is None or aftermath.status is None:
        yield "later     it belongs to nothing that the read models know"
        return
    status = f", which is {aftermath.status} now" if aftermath.status else ""
    yield f"later     {len(aftermath.timeline)} later events of {plain(job)}{status}, were folded"
    for entry in aftermath.timeline:
        void = "  void" if entry["void"] else ""
        yield f"  {entry['offset']}  {rfc3339(entry['time'])}  {entry['type']}  {entry['status']}{void}"
    if aftermath.quarantined:
        yield f"          {len(aftermath.quarantined)} later records of it are in quarantine too"
    for document in aftermath.quarantined:
        yield f"  {document['offset']}  {plain(document['reason'])}"


def _show_verdicts(readable: list[Verdict], others: list[Verdict]) -> None:
    for verdict in readable[:_SHOWN_MAX]:
        typer.echo(f"  readable  {plain(verdict.id)}  (was: {plain(verdict.reason or '')})")
    for verdict in others[:_SHOWN_MAX]:
        news = "" if verdict.reason is not None else "not in quarantine so far; "
        typer.echo(f"  not       {plain(verdict.id)}  {news}{plain(verdict.today or '')}")
    more = max(0, len(readable) - _SHOWN_MAX) + max(0, len(others) - _SHOWN_MAX)
    if more:
        typer.echo(f"  … and {more} more")


def _time(timestamp_ms: int) -> str:
    try:
        return rfc3339(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms))
    except OverflowError:
        return f"{timestamp_ms} ms after 1970"
