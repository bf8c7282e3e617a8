"""`darkroom replay`: the read models built again from the log, proved equal, and switched to."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from darkroom.cli.connect import find_stack
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, refused
from darkroom.projector.compare import Comparison
from darkroom.projector.projections.families import FAMILIES, JOBS, Family, family_of
from darkroom.projector.rebuild_job import rebuild_job
from darkroom.projector.replay import Mode, Moment, Report, Tell
from darkroom.projector.replay import replay as run_replay
from darkroom.projector.store import Store
from darkroom.runtime.eventlog.kafka import KafkaLog

CONNECT_TIMEOUT_S = 10.0
_LINE_EVERY_S = 2.0


def replay(
    models: Annotated[
        list[str] | None, typer.Argument(help="Read models; those of one topic are rebuilt together. Default: all.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Prove that the read models equal the log; exit code 1 if not.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Switch to the rebuilt read models also where the live ones differ.")
    ] = False,
    job: Annotated[str, typer.Option(help="Rebuild the documents of this one job (the statistics are not).")] = "",
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to work on.")] = None,
) -> None:
    """Build the next generation of the read models from the log, compare it with the live one, and switch to it.

    Readers see no gap, and a projector may go on working. Killed half way, it can simply be started again.
    """
    console = Console(highlight=False)
    with plainly(), ExitStack() as opened:
        if sum((dry_run, check, repair, bool(job))) > 1:
            raise refused("give one of --dry-run, --check, --repair, --job")
        stack = find_stack(ready_file, needs=("kafka", "mongodb"))
        store = Store(stack.mongodb, stack.mongodb_database)
        opened.callback(store.close)
        try:
            families = dict.fromkeys(family_of(m) for m in models) if models else dict.fromkeys(FAMILIES)
            if job:
                log = _log(opened, stack.kafka, stack.topics[JOBS.name])
                written = rebuild_job(store, log, log.topic, job)
                console.print(f"job {job}: " + ", ".join(f"{count} in {m}" for m, count in written.items()))
                console.print("the statistics count across jobs, and were not touched")
                return
            mode = Mode.CHECK if check else Mode.DRY_RUN if dry_run else Mode.REPAIR if repair else Mode.SWITCH
            good = True
            for family in families:
                log = _log(opened, stack.kafka, stack.topics[family.name])
                good &= _replay(console, store, log, family, mode)
        except ValueError as error:
            raise refused(str(error)) from None
    if not good:
        raise typer.Exit(EXIT_OUTCOME)


def _replay(console: Console, store: Store, log: KafkaLog, family: Family, mode: Mode) -> bool:
    """Replays one family and prints what came of it; False where the outcome asks for a person."""
    console.print(f"[bold]{', '.join(family.read_models)}[/bold] from {log.topic}")
    with _telling(console) as tell:
        report = run_replay(store, log, log.topic, family, mode, tell, console.print)
    rate = report.events / max(0.001, report.took_s)
    console.print(f"  {report.events} events in {report.took_s:.1f} s, {rate:,.0f} events/s")
    for comparison in report.comparisons:
        _show(console, comparison)
    return _conclude(console, report, mode)


def _show(console: Console, comparison: Comparison) -> None:
    name = f"  {comparison.read_model:<8}"
    if comparison.equal:
        console.print(f"{name} [green]equal[/green]  {comparison.live.count} documents, {comparison.live}")
        return
    console.print(
        f"{name} [red]differs[/red]  live {comparison.live.count} documents, the log says "
        f"{comparison.rebuilt.count}: {comparison.changed} changed, {comparison.missing} missing, "
        f"{comparison.extra} too many"
    )
    for example in comparison.examples:
        console.print(f"    {example.id} {example.what}", markup=False)
        for path, live, rebuilt in example.fields:
            console.print(f"      {path}: {live!r:.70} is {rebuilt!r:.70} by the log", markup=False)


def _conclude(console: Console, report: Report, mode: Mode) -> bool:
    if report.outdated:
        console.print(f"  made by another version of the fold: {', '.join(report.outdated)}")
    if report.switched:
        console.print(f"  switched to generation {report.generation}; the one before is carried on")
        return True
    if mode is Mode.CHECK:
        console.print(
            "  the read models equal the log" if report.equal else "  the read models are NOT what the log says"
        )
        return report.equal
    if mode is Mode.DRY_RUN:
        console.print(
            "  nothing would change" if report.equal else "  a replay would change this; nothing was written"
        )
        return True
    console.print("  not switched, since the live read models differ: look at why, then `darkroom replay --repair`")
    return False


def _log(opened: ExitStack, kafka: str, topic: str) -> KafkaLog:
    log = KafkaLog(kafka, topic, connect_timeout_s=CONNECT_TIMEOUT_S)
    opened.callback(log.close, 1.0)
    return log


@contextmanager
def _telling(console: Console) -> Iterator[Tell]:
    """A bar on a terminal, a line now and then where the output is piped."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns: Sequence[TextColumn | BarColumn] = (
        TextColumn("  {task.description:<8}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[pace]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None, pace="")

        def tell(moment: Moment) -> None:
            progress.update(
                task,
                description=moment.phase,
                total=moment.total or None,
                completed=moment.done,
                pace=_pace(moment),
            )

        yield tell


def _lines(console: Console) -> Tell:
    said = monotonic()

    def tell(moment: Moment) -> None:
        nonlocal said
        if monotonic() - said >= _LINE_EVERY_S:
            said = monotonic()
            percent = f"{100 * moment.done / moment.total:.0f} %" if moment.total else f"{moment.done} documents"
            console.print(f"  {moment.phase}: {percent}  {_pace(moment)}")

    return tell


def _pace(moment: Moment) -> str:
    if moment.left_s is None:
        return ""
    return f"{moment.per_s:,.0f} events/s, {moment.left_s:.0f} s left"
