"""`darkroom up`: options in, a running stack out."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli.errors import UserError
from darkroom.cli.progress import fetching
from darkroom.cli.stack.places import data_folder
from darkroom.cli.stack.plan import KINDS, Options
from darkroom.cli.stack.run import run_stack
from darkroom.runtime.settings import SettingsError

_INSTANCES_MAX = 16


class Ports(StrEnum):
    FIXED = "fixed"
    AUTO = "auto"


def _count(help: str) -> typer.models.OptionInfo:
    return typer.Option(min=1, max=_INSTANCES_MAX, help=help)  # type: ignore[no-any-return]


def up(
    data: Annotated[
        Path | None, typer.Option(help="Where everything is kept; a second start goes on there.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Empty that folder first.")] = False,
    ports: Annotated[
        Ports, typer.Option(help="auto: free ones; fixed: 8080, 8081, 9093, 27018.", show_default=True)
    ] = Ports.FIXED,
    ready_file: Annotated[
        Path | None, typer.Option(help="Holds all addresses and pids as JSON once everything is ready.")
    ] = None,
    executors: Annotated[int, _count("How many executors.")] = 1,
    projectors: Annotated[int, _count("How many projectors.")] = 1,
    command_apis: Annotated[int, _count("How many command APIs (the first has the fixed port).")] = 1,
    no_restart: Annotated[
        bool, typer.Option("--no-restart", help="Leave dead what dies (for fault tests).")
    ] = False,
    replicas: Annotated[int, typer.Option(help="1, or 3: brokers and mongods, for fault tests.")] = 1,
    only: Annotated[str, typer.Option(help=f"Just these parts, by comma: {', '.join(KINDS)}.")] = "",
) -> None:
    """Starts Kafka, MongoDB and the services, and keeps them running until Ctrl-C or SIGTERM."""
    if replicas not in (1, 3):
        raise typer.BadParameter("1 or 3", param_hint="--replicas")
    options = Options(
        data=(data or data_folder()).absolute(),
        only=_parts(only),
        counts={"executor": executors, "projector": projectors, "command-api": command_apis},
        replicas=replicas,
        auto_ports=ports is Ports.AUTO,
        reset=reset,
        restart=not no_restart,
        ready_file=ready_file.absolute() if ready_file else None,
    )
    try:
        run_stack(options, progress=fetching("Kafka's jars"))
    except SettingsError as error:
        raise UserError(str(error)) from None


def _parts(only: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in only.split(",") if name.strip())
    unknown = sorted(names - set(KINDS))
    if unknown:
        raise typer.BadParameter(
            f"no such part: {', '.join(unknown)}; there are {', '.join(KINDS)}", param_hint="--only"
        )
    return names or frozenset(KINDS)
