"""`darkroom simulate`: seeded traffic against the command API, with a live summary."""

import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from darkroom.cli.connect import find_stack
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, refused
from darkroom.cli.submit import ReadyFile
from darkroom.runtime.ids import new_id
from darkroom.simulator import pictures, scenario
from darkroom.simulator.client import CommandClient
from darkroom.simulator.run import Pace, Simulation
from darkroom.simulator.summary import Summary
from darkroom.simulator.tail import span_s

COUNT_DEFAULT = 100
LINE_EVERY_S = 5.0


def simulate(
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Actions per second; else as fast as can be.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help=f"How many actions; {COUNT_DEFAULT} by default.")] = None,
    duration: Annotated[str | None, typer.Option(help="How long: 30s, 10m, 2h.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same traffic.")] = 1,
    models: Annotated[str, typer.Option(help="Models to use, by commas.")] = "shapes-classifier,shapes-detector",
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests under way at once.")] = 16,
    samples: Annotated[Path | None, typer.Option(help="A folder of pictures to mix in.")] = None,
    ready_file: ReadyFile = None,
) -> None:
    """Send a seeded mix of jobs, repeats, runs again, cancels, deletes and bad requests.

    With --rate and neither --count nor --duration it goes on until Ctrl-C. Exit code 1 if any answer was not the
    right one.
    """
    duration_s = span_s(duration) if duration is not None else None
    if duration is not None and duration_s is None:
        raise refused(f"--duration {duration!r} is not of the form 30s, 10m or 2h")
    if rate is None and count is None and duration_s is None:
        count = COUNT_DEFAULT
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise refused("--models names no model")
    console = Console(highlight=False)
    stopping = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with plainly(), ExitStack() as closing:
        client = CommandClient(
            find_stack(ready_file, needs=("command_url",)).command_url, connections_max=concurrency
        )
        closing.callback(client.close)
        pool = pictures.pool(seed, samples)
        pace = Pace(rate, count, duration_s, concurrency)
        stream = scenario.actions(seed, new_id(), names, len(pool))
        if sys.stdout.isatty():
            live = closing.enter_context(Live(console=console, refresh_per_second=4))
            simulation = Simulation(client, stream, pool, pace, lambda s: live.update(panel(s)), 0.25)
        else:
            simulation = Simulation(client, stream, pool, pace, lambda s: print(s.line(), flush=True), LINE_EVERY_S)
        summary = simulation.run(stopping)
    for finding in summary.findings:
        typer.echo(f"unexpected: {finding}", err=True)
    raise typer.Exit(EXIT_OUTCOME if summary.unexpected else 0)


def panel(summary: Summary) -> Table:
    """The summary as a small table that stays in its place."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    colour = "red" if summary.unexpected else "green"
    for name, value in (
        ("time", f"{summary.elapsed_s:.1f} s"),
        ("sent", f"{summary.sent} ({summary.rate_per_s:.1f}/s)"),
        ("accepted", str(summary.accepted)),
        ("refused as expected", str(summary.refused)),
        ("unexpected", f"[{colour}]{summary.unexpected}[/{colour}]"),
        ("latency p50, p99", f"{summary.p50_ms:.0f} ms, {summary.p99_ms:.0f} ms"),
    ):
        table.add_row(name, value)
    for action, number in summary.by_action.items():
        table.add_row(f"  {action}", str(number))
    return table
