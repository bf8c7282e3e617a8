"""What `darkroom replay` says: how far it is, what it found, what came of it."""

from collections.abc import Callable

from rich.console import Console

from darkroom.projector.compare import Comparison
from darkroom.projector.replay import Mode, Moment, Report, Tell
from darkroom.runtime.archive.progress import Moment as Shown


def told_as(told: Callable[[Shown], None]) -> Tell:
    """A replay's moments as the bar shows them."""

    def tell(moment: Moment) -> None:
        phase = moment.phase
        if moment.held_to_per_s is not None:
            phase += f", held to {moment.held_to_per_s:,.0f}/s ({moment.why})"
        told(Shown(phase, moment.done, moment.total, moment.per_s, moment.left_s))

    return tell


def show(console: Console, report: Report) -> None:
    """What was found, read model by read model."""
    rate = report.events / max(0.001, report.took_s)
    by = f" by {report.processes} processes" if report.processes else ""
    console.print(f"  {report.events} events in {report.took_s:.1f} s{by}, {rate:,.0f} events/s")
    width = max(len(c.read_model) for c in report.comparisons)
    for comparison in report.comparisons:
        _show(console, comparison, width)


def _show(console: Console, comparison: Comparison, width: int) -> None:
    name = f"  {comparison.read_model:<{width}}"
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


def conclude(console: Console, report: Report, mode: Mode, further: int | None) -> bool:
    """What came of it; False where the outcome asks for a person. `further`: events of the log beyond what was
    compared, None if unknown."""
    if further and not report.events:
        console.print(
            f"  [yellow]![/yellow] no projector has folded any of the {further} events of this log: is one running?"
        )
    if report.outdated:
        console.print(
            f"  the live ones were made by another version of the fold, and may differ: "
            f"{', '.join(report.outdated)}"
        )
    if report.switched:
        before = "kept; only projectors of the old version carry it on" if report.outdated else "carried on"
        console.print(f"  switched to generation {report.generation}; the one before is {before}")
        if not report.equal and not report.outdated:
            console.print(
                f"  generation {report.before} is kept for a rollback, and differs from the log: "
                "`darkroom replay --prune` drops it"
            )
        return True
    if mode is Mode.CHECK:
        console.print(
            "  the read models equal the log up to the live checkpoints" + _further(further)
            if report.equal
            else "  the read models are NOT what the log says up to the live checkpoints"
        )
        return report.equal
    if mode is Mode.DRY_RUN:
        console.print(
            "  nothing would change" if report.equal else "  a replay would change this; nothing was written"
        )
        return True
    console.print("  not switched, since the live read models differ: look at why, then `darkroom replay --repair`")
    return False


def _further(events: int | None) -> str:
    if events is None:
        return "; how far the log goes beyond them was not told"
    return f"; {events} further events of the log are not folded yet (`darkroom status`)" if events else ""
