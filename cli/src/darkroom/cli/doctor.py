"""`darkroom doctor`: a line per part, and how to mend what is wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli.checks import machine, running
from darkroom.cli.checks.finding import Finding, State
from darkroom.cli.connect import NoStack, find_stack

_COLOURS = {State.GOOD: typer.colors.GREEN, State.LACKING: typer.colors.YELLOW, State.BROKEN: typer.colors.RED}
_MACHINE = (
    machine.python,
    machine.packages,
    machine.java,
    machine.jars,
    machine.mongod,
    machine.chromium,
    machine.folder,
)


def doctor(
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to look at.")] = None,
) -> None:
    """Checks this machine and the stack that runs, if one does. Exit code 1 if something needed is missing."""
    worst = State.GOOD
    for finding in _findings(ready_file):
        _show(finding)
        if finding.state is State.BROKEN:
            worst = State.BROKEN
    if worst is State.BROKEN:
        raise typer.Exit(1)


def _findings(ready_file: Path | None) -> Iterator[Finding]:
    for check in _MACHINE:
        yield check()
    try:
        stack = find_stack(ready_file)
    except NoStack as error:
        if ready_file is not None:
            yield Finding("stack", State.BROKEN, str(error), "give the ready file of a stack that runs")
            return
        yield running.ports()
        yield Finding("stack", State.LACKING, "none is running", "start one with `darkroom up`")
        return
    yield from running.all_parts(stack)


def _show(finding: Finding) -> None:
    mark = (
        typer.style(f"{finding.state.value:<8}", fg=_COLOURS[finding.state])
        if sys.stdout.isatty()
        else (f"{finding.state.value:<8}")
    )
    typer.echo(f"{mark} {finding.what:<14} {finding.detail}")
    if finding.mend:
        typer.echo(f"{'':<23} → {finding.mend}")
