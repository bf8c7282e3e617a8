"""How a command talks to the services, and what it says when they do not do what it was asked: one sentence, no
stack trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from darkroom.cli.connect import find_stack
from darkroom.cli.errors import UserError
from darkroom.schemas.errors import DarkroomError
from darkroom.simulator.client import Answer, CommandClient, Unreachable
from darkroom.simulator.reader import QueryClient, Refused

PATIENCE_S = 5.0
"""A person at a terminal would rather know than wait for a service that is away."""
EXIT_OUTCOME = 1
"""The service did what it was asked, and the outcome is not a good one."""
EXIT_REFUSED = 2
"""The service refused, or is not there; or the command line makes no sense."""


@contextmanager
def plainly() -> Iterator[None]:
    """Turns what services and log raise into a sentence on standard error and exit code 2."""
    try:
        yield
    except Refused as error:
        raise refused(str(error)) from None
    except Unreachable as error:
        raise refused(f"{error}\nIs the stack up? `darkroom doctor` tells.") from None
    except BrokenPipeError:
        raise  # whoever read our output has had enough: see main.py
    except (UserError, DarkroomError, OSError) as error:
        raise refused(str(error)) from None


@contextmanager
def clients(ready_file: Path | None) -> Iterator[tuple[CommandClient, QueryClient]]:
    """Clients of the stack that is meant (see connect.py). Raises NoStack."""
    stack = find_stack(ready_file, needs=("command_url", "query_url"))
    with (
        CommandClient(stack.command_url, patience_s=PATIENCE_S) as commands,
        QueryClient(stack.query_url) as queries,
    ):
        yield commands, queries


def refused(message: str) -> typer.Exit:
    """Says why, and is the exception to raise."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(message, err=True)
    return typer.Exit(EXIT_REFUSED)


def require(answer: Answer) -> Answer:
    """The answer, if it is a good one. Raises Refused."""
    if not answer.ok:
        raise Refused(answer)
    return answer
