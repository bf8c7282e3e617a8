"""`darkroom status`: what runs, how far the read models are behind the log, and what there is."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from darkroom.cli.connect import find_stack
from darkroom.cli.plainly import EXIT_OUTCOME, plainly
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.schemas.errors import LogUnavailable
from darkroom.simulator.client import Unreachable
from darkroom.simulator.reader import QueryClient, Refused

ASK_TIMEOUT_S = 5.0


def status(
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to ask.")] = None,
) -> None:
    """Services, checkpoints beside the log's own ends, and counts. Exit code 1 if anything is away or unknown."""
    console = Console(highlight=False)
    with plainly(), ExitStack() as closing:
        stack = find_stack(ready_file, needs=("command_url", "query_url", "kafka"))
        queries = closing.enter_context(QueryClient(stack.query_url))
        services = {"command API": stack.command_url, "query API": stack.query_url}
        health = {name: health_of(url) for name, url in services.items()}
        for name, why in health.items():
            console.print(f"{name:<12} {services[name]}  {why or '[green]ready[/green]'}")
        ends = {topic: ends_of(stack.kafka, topic) for name, topic in stack.topics.items() if name != "heartbeats"}
        for topic, end in ends.items():
            text = f"{sum(end.values())} events in {len(end)} partitions" if end else "[red]away[/red]"
            console.print(f"{'log':<12} {topic}  {text}")
        try:
            console.print()
            projections = queries.projections().get("items", [])
            console.print(projections_table(projections, ends))
            console.print()
            quarantined = {p.get("topic"): p.get("quarantined", 0) for p in projections}  # counted per topic
            for line in counts(queries.stats(), sum(quarantined.values())):
                console.print(line)
        except (Refused, Unreachable) as error:
            console.print(f"[red]the read model cannot be asked[/red]: {escape(str(error))}")
            raise typer.Exit(EXIT_OUTCOME) from None
    if any(health.values()) or not all(ends[topic] for topic in ends):
        raise typer.Exit(EXIT_OUTCOME)


def health_of(url: str) -> str | None:
    """None if the service says that it is ready, otherwise what it says."""
    try:
        response = httpx.get(f"{url}/health/ready", timeout=ASK_TIMEOUT_S)
    except httpx.TransportError as error:
        return f"[red]away[/red] ({escape(str(error))})"
    return None if response.status_code == 200 else f"[yellow]not ready[/yellow]: {escape(response.text.strip())}"


def ends_of(bootstrap: str, topic: str) -> dict[int, int]:
    """The end offset of each partition, asked of the broker itself; {} if it does not answer."""
    try:
        log = KafkaLog(bootstrap, topic, connect_timeout_s=ASK_TIMEOUT_S)
        try:
            return {p: log.end_offset(p, ASK_TIMEOUT_S) for p in range(log.partitions)}
        finally:
            log.close(1.0)
    except LogUnavailable:
        return {}


def projections_table(projections: list[Mapping[str, Any]], ends: Mapping[str, Mapping[int, int]]) -> Table:
    """Per read model and partition: what it has folded beside what the log holds now."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("read model", "generation", "partition", "folded up to", "log's end", "behind", "end seen, UTC"):
        table.add_column(title, justify="left" if title in ("read model", "end seen, UTC") else "right")
    for projection in projections:
        end = ends.get(projection.get("topic") or "", {})
        marks = projection.get("partitions", [])
        total = sum(max(0, end[mark["partition"]] - mark["next"]) for mark in marks if mark["partition"] in end)
        name = f"[bold]{projection['read_model']}[/bold]"
        table.add_row(name, str(projection["generation"]), "all", "", "", behind(total) if end else "?", "")
        for mark in marks:
            truth = end.get(mark["partition"])
            table.add_row(
                "",
                "",
                str(mark["partition"]),
                str(mark["next"]),
                "?" if truth is None else str(truth),
                "?" if truth is None else behind(truth - mark["next"]),
                str(mark.get("end_seen_at") or "never")[11:19] or "never",  # the time of day, UTC
            )
    return table


def behind(events: int) -> str:
    """How many events; a checkpoint ahead of the log is an alarm."""
    if events < 0:
        return f"[red]{-events} ahead of the log[/red]"
    return "[green]0[/green]" if events == 0 else f"[yellow]{events}[/yellow]"


def counts(stats: Mapping[str, Any], quarantined: int) -> list[str]:
    """Jobs by status, and what could not be read."""
    jobs = stats.get("jobs", {})
    by_status = ", ".join(
        f"{number} {name}" for name, number in sorted(jobs.get("by_status", {}).items()) if number
    )
    return [
        f"{'jobs':<12} {jobs.get('total', 0)}" + (f" ({by_status})" if by_status else ""),
        f"{'quarantine':<12} {quarantined}" + (" [red](look at them)[/red]" if quarantined else ""),
    ]
