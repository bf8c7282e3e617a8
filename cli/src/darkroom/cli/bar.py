"""How far a long piece of work is: a bar on a terminal, a line now and then where the output is piped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_LINE_EVERY_S = 2.0


class Moment(Protocol):
    """How far it is: `done` of `total` events in this phase (0: nobody knows of how many). `left_s`: None while it
    cannot be told."""

    @property
    def phase(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def per_s(self) -> float: ...
    @property
    def left_s(self) -> float | None: ...


@contextmanager
def told_on(console: Console) -> Iterator[Callable[[Moment], None]]:
    """What to call with each moment of the work."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[pace]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None, pace="")

        def tell(moment: Moment) -> None:
            progress.update(
                task,
                description=moment.phase,
                total=moment.total or None,
                completed=moment.done,
                pace=_pace(moment),
            )

        yield tell


def _lines(console: Console) -> Callable[[Moment], None]:
    said = monotonic()

    def tell(moment: Moment) -> None:
        nonlocal said
        if moment.total and monotonic() - said >= _LINE_EVERY_S:
            said = monotonic()
            console.print(f"  {moment.phase}: {100 * moment.done / moment.total:.0f} %  {_pace(moment)}")

    return tell


def _pace(moment: Moment) -> str:
    if moment.left_s is None:
        return ""
    return f"{moment.per_s:,.0f} events/s, {moment.left_s:.0f} s left"
