"""The `darkroom` command. Each subcommand's module is imported only when that command is called, so that
`darkroom --help` is quick and `darkroom tail` never loads a web framework."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from darkroom.cli.errors import UserError


@dataclass(frozen=True)
class Entry:
    """Where a command is: `target` is "module:attribute", a function for typer or a Typer app of its own."""

    target: str
    help: str
    panel: str


EXIT_UNREAD = 128 + 13
_STACK, _JOBS, _LOG = "The stack", "Jobs and models", "The log and its prints"

COMMANDS: dict[str, Entry] = {
    "demo": Entry("darkroom.cli.demo:demo", "Shows the whole of it: jobs, results, the log, a rebuild.", _STACK),
    "up": Entry("darkroom.cli.up:up", "Starts Kafka, MongoDB and the services, and keeps them running.", _STACK),
    "down": Entry("darkroom.cli.down:down", "Stops the stack that was started by `darkroom up` elsewhere.", _STACK),
    "doctor": Entry("darkroom.cli.doctor:doctor", "Checks each part, and says how to mend it.", _STACK),
    "status": Entry("darkroom.cli.status:status", "How the services, the log and the read models are.", _STACK),
    "kafka": Entry("darkroom.cli.kafka:app", "Runs one of Kafka's own console tools.", _STACK),
    "fetch": Entry("darkroom.cli.fetch:fetch", "Fetches what the stack needs beside the Python packages.", _STACK),
    "submit": Entry("darkroom.cli.submit:submit", "Sends pictures to a model and shows the results.", _JOBS),
    "models": Entry("darkroom.cli.models:app", "Adds, lists and retires models.", _JOBS),
    "simulate": Entry("darkroom.cli.simulate:simulate", "Makes seeded traffic.", _JOBS),
    "tail": Entry("darkroom.cli.tail:tail", "Prints the events of jobs as they happen.", _LOG),
    "log": Entry("darkroom.cli.log:app", "Backs up the log in files, restores it, lists its blobs.", _LOG),
    "replay": Entry(
        "darkroom.cli.replay:replay", "Builds the read models again from the log, or checks them.", _LOG
    ),
    "quarantine": Entry("darkroom.cli.quarantine:app", "Shows the records that no fold could read.", _LOG),
}


class LazyGroup(TyperGroup):
    """Lists its commands from the table above and loads the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(cmd_name, help=entry.help, rich_help_panel=entry.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}  # for "did you mean"
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and command else command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"darkroom: {error}", err=True)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            raise _unread() from None
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # so rich ends
                raise _unread() from None
            raise


def _unread() -> typer.Exit:
    """For `darkroom … | head`: no more output, no text, and the exit code of a program that SIGPIPE ended."""
    with suppress(OSError):  # it has no descriptor where a test has taken its place
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the very end
    return typer.Exit(EXIT_UNREAD)


def load(name: str) -> Any:
    """The command of that name, ready to be called. Raises KeyError, ImportError."""
    module, attribute = COMMANDS[name].target.split(":")
    found: typer.Typer | Callable[..., Any] = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name, help=found.__doc__ or COMMANDS[name].help)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


@app.callback()
def _darkroom() -> None:
    """Darkroom: an event-sourced computer-vision inference service."""
