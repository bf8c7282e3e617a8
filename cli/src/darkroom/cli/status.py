"""`darkroom status`: what runs, how far the read models are behind the log, and what there is.

What it says is true whatever is away: the log's ends come from the broker, the checkpoints from the query API, and
what cannot be asked is said to be unknown.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from darkroom.cli.connect import find_stack
from darkroom.cli.lag import Projection, Standing, alarms, doubtful, families, lasted, moved, outdated, standings
from darkroom.cli.plainly import EXIT_OUTCOME, plainly
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.schemas.errors import LogUnavailable
from darkroom.simulator.client import Unreachable
from darkroom.simulator.reader import QueryClient, Refused

ASK_TIMEOUT_S = 8.0
"""Longer than a query API waits for a MongoDB that is away, so that it can say so."""
LOG_TIMEOUT_S = 5.0
_LOOK_AGAIN_S = 3.0
"""A projector leaves a note every second; who has left none in this time is silent, whatever its clock says."""
_LOOK_EVERY_S = 0.5

Ends = dict[int, int | None]


def status(
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to ask.")] = None,
) -> None:
    """Services, checkpoints beside the log's own ends, and counts. Exit code 1 if anything is away, silent or
    unknown."""
    console = Console(highlight=False)
    with plainly(), ExitStack() as closing:
        stack = find_stack(ready_file, needs=("command_url", "query_url", "kafka"))
        queries = closing.enter_context(QueryClient(stack.query_url, timeout_s=ASK_TIMEOUT_S))
        services = {"command API": stack.command_url, "query API": stack.query_url}
        topics = {name: topic for name, topic in stack.topics.items() if name != "heartbeats"}
        with ThreadPoolExecutor() as asking:
            looking = asking.submit(look, queries)
            health = dict(zip(services, asking.map(health_of, services.values()), strict=True))
            # The checkpoints first, the log's ends second: a checkpoint that is ahead then has no log under it.
            projections, heard, unknown = looking.result()
            asked = asking.map(partial(ends_of, stack.kafka), topics.values())
            ends = dict(zip(topics.values(), asked, strict=True))
        for name, why in health.items():
            console.print(f"{name:<12} {services[name]}  {why or '[green]ready[/green]'}", soft_wrap=True)
        now = datetime.now(UTC)
        for topic, end in ends.items():
            console.print(f"{'log':<12} {topic}  {log_line(end)}")
        said = []
        for members in families(projections):
            topic = members[0]["topic"] or topics.get(members[0]["family"], "")
            end = ends.get(topic, {})
            found = standings(members[0], end, now, heard.get(members[0]["family"], frozenset()))
            console.print()
            console.print(title(members), soft_wrap=True)
            console.print(partitions_table(found))
            said += alarms(topic, len(end) or None, found, outdated(members))
        console.print()
        if unknown is not None:
            said.append(f"how far the read models are, nobody can say: {unknown}")
            for topic, end in ends.items():
                console.print(ends_table(topic, end))
        else:
            for line in counts(queries, projections):
                console.print(line)
        if said:
            console.print()
        for sentence in said:
            console.print(f"[yellow]![/yellow] {escape(sentence)}", soft_wrap=True)
    known = [end is not None for of_topic in ends.values() for end in of_topic.values()]
    if said or any(health.values()) or not all(known) or not all(ends.values()):
        raise typer.Exit(EXIT_OUTCOME)


def health_of(url: str) -> str | None:
    """None if the service says that it is ready, otherwise what it says."""
    try:
        response = httpx.get(f"{url}/health/ready", timeout=ASK_TIMEOUT_S)
    except httpx.TransportError as error:
        return f"[red]away[/red] ({escape(str(error))})"
    if response.status_code == 200:
        return None
    try:
        why = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        why = response.text.strip()
    return f"[yellow]not ready[/yellow]: {escape(why[:300])}"


def look(queries: QueryClient) -> tuple[Sequence[Projection], Mapping[str, frozenset[int]], str | None]:
    """The projections; by family, the partitions whose projector was seen at work between two looks (there is a
    second one only if somebody seems silent); and why nothing is known, if so."""
    try:
        first: Sequence[Projection] = queries.projections()["items"]
        last, until = first, monotonic() + _LOOK_AGAIN_S
        while doubtful(last, datetime.now(UTC)) and monotonic() < until:
            Event().wait(_LOOK_EVERY_S)
            last = queries.projections()["items"]
            if all(len(seen) == len(p["partitions"]) for p in last for seen in [moved(first, last)[p["family"]]]):
                break
    except (Refused, Unreachable) as error:
        return [], {}, str(error)
    return last, moved(first, last), None


def ends_of(bootstrap: str, topic: str) -> Ends:
    """The end offset of each partition, asked of the broker itself, None where it does not answer; {} if it does
    not answer at all. Takes no longer than twice LOG_TIMEOUT_S."""
    try:
        log = KafkaLog(bootstrap, topic, connect_timeout_s=LOG_TIMEOUT_S)
    except LogUnavailable:
        return {}
    ends: Ends = {}
    until = monotonic() + LOG_TIMEOUT_S
    try:
        for partition in range(log.partitions):
            try:
                ends[partition] = log.end_offset(partition, max(0.1, until - monotonic()))
            except LogUnavailable:
                ends[partition] = None
    finally:
        log.close(1.0)
    return ends


def log_line(ends: Ends) -> str:
    """How many events a topic holds, or what of it cannot be asked."""
    known = [end for end in ends.values() if end is not None]
    if not known:
        return "[red]away[/red]"
    away = f", [red]{len(ends) - len(known)} of them away[/red]" if len(known) < len(ends) else ""
    partitions = "1 partition" if len(ends) == 1 else f"{len(ends)} partitions"
    return f"{sum(known)} events in {partitions}{away}"


def title(members: Sequence[Projection]) -> str:
    """The read models of a family, and its generations."""
    one = members[0]
    others = [f"{generation} kept" for generation in one["kept"]]
    others += [f"{one['building']} being built"] if one["building"] is not None else []
    names = ", ".join(m["read_model"] for m in members)
    return f"[bold]{names}[/bold]: generation {one['generation']}" + (f" ({', '.join(others)})" if others else "")


def partitions_table(found: Sequence[Standing]) -> Table:
    """Per partition what is folded, beside what the log holds now and what the projector has seen of it."""
    table = _table("partition", "folded up to", "log's end", "behind", "end seen")
    for s in found:
        end = "?" if s.end is None else str(s.end)
        table.add_row(str(s.partition), str(s.next), end, behind(s), seen(s))
    if len(found) > 1:
        ends = [s.end for s in found if s.end is not None]
        end = str(sum(ends)) if len(ends) == len(found) else "?"
        table.add_row("all", str(sum(s.next for s in found)), end, _total(found), "")
    return table


def ends_table(topic: str, ends: Ends) -> Table:
    """The log's own ends, where the checkpoints are unknown."""
    table = _table("partition", "folded up to", "log's end", title=topic)
    for partition, end in ends.items():
        table.add_row(str(partition), "?", "?" if end is None else str(end))
    return table


def behind(s: Standing) -> str:
    """How many events; a checkpoint ahead of the log is an alarm."""
    if s.behind is None:
        return f"[yellow]≥ {s.behind_at_least}[/yellow]"
    if s.behind < 0:
        return f"[red]{-s.behind} ahead[/red]"
    return "[green]0[/green]" if s.behind == 0 else f"[yellow]{s.behind}[/yellow]"


def seen(s: Standing) -> str:
    """The end that the projector saw, and when."""
    if s.heard_s is None:
        return "[red]never[/red]"
    text = f"{s.end_seen}, {lasted(s.heard_s)} ago" if s.heard_s < inf else f"{s.end_seen}, at a time unknown"
    return f"[red]{text}[/red]" if s.silent else text


def counts(queries: QueryClient, projections: Sequence[Projection]) -> list[str]:
    """Jobs by status, and what could not be read."""
    try:
        jobs = queries.stats().get("jobs", {})
    except (Refused, Unreachable) as error:
        lines = [f"{'jobs':<12} [red]unknown[/red]: {escape(str(error))}"]
    else:
        by_status = ", ".join(
            f"{number} {name}" for name, number in sorted(jobs.get("by_status", {}).items()) if number
        )
        lines = [f"{'jobs':<12} {jobs.get('total', 0)}" + (f" ({by_status})" if by_status else "")]
    quarantined = sum(members[0]["quarantined"] for members in families(projections))
    hint = " [red](look at them: darkroom quarantine list)[/red]" if quarantined else ""
    return [*lines, f"{'quarantine':<12} {quarantined}{hint}"]


def _total(found: Sequence[Standing]) -> str:
    known = [s.behind for s in found if s.behind is not None]
    if len(known) < len(found):
        return f"≥ {sum(s.behind_at_least if s.behind is None else max(0, s.behind) for s in found)}"
    return str(sum(max(0, number) for number in known))


def _table(*titles: str, title: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left")
    for name in titles:
        table.add_column(name, justify="left" if name == "end seen" else "right")
    return table
