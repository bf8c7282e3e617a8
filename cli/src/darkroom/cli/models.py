"""`darkroom models`: what the service can run."""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from darkroom.cli.errors import UserError
from darkroom.cli.modelfiles import ModelFile, bundled, catalogued, described
from darkroom.cli.plainly import clients, plainly, refused, require
from darkroom.cli.submit import ReadyFile
from darkroom.simulator.client import CommandClient, Unreachable
from darkroom.simulator.reader import QueryClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Adds, lists and retires models.")

LISTED_TIMEOUT_S = 30.0
_LOOK_EVERY_S = 0.1


@app.command()
def add(
    path: Annotated[
        Path | None,
        typer.Argument(help="A .tflite file, a SavedModel folder, or a .tar.gz of one.", show_default=False),
    ] = None,
    bundled_ones: Annotated[bool, typer.Option("--bundled", help="Add the repository's own models.")] = False,
    catalogue: Annotated[str | None, typer.Option(help="Add a public model of the catalogue file.")] = None,
    name: Annotated[str | None, typer.Option(help="Its name; else that of the file.")] = None,
    version: Annotated[str | None, typer.Option(help="Its version; else 1.")] = None,
    kind: Annotated[str | None, typer.Option(help="classification or detection; else by its outputs.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A text file with one label per line.")] = None,
    preprocessing: Annotated[
        str | None, typer.Option(help="raw, zero-to-one, minus-one-to-one or imagenet; else by the file.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="What is applied to its scores: none, softmax or sigmoid.")
    ] = None,
    label_offset: Annotated[int | None, typer.Option(help="The class id of the first label: 0 or 1.")] = None,
    ready_file: ReadyFile = None,
) -> None:
    """Register a model with the service, and wait until it is listed."""
    if sum((path is not None, bundled_ones, catalogue is not None)) != 1:
        raise refused("give one of PATH, --bundled and --catalogue NAME")
    with plainly(), TemporaryDirectory(prefix="darkroom-models-") as work:
        if catalogue is not None:
            raise not_fetched_yet(catalogued(catalogue))
        if path is not None:
            overrides: dict[str, Any] = {"name": name, "version": version, "kind": kind, "labels": labels}
            overrides |= {"preprocessing": preprocessing, "activation": activation, "label_offset": label_offset}
            files = [described(path, Path(work), **overrides)]
        else:
            files = bundled()
        with clients(ready_file) as (commands, queries):
            for line in register(commands, queries, files):
                typer.echo(line)


@app.command("list")
def list_models(ready_file: ReadyFile = None) -> None:
    """List the models and their versions."""
    with plainly(), clients(ready_file) as (_, queries):
        found = queries.models()
    console = Console(highlight=False)
    if not found:
        console.print("there are no models yet; `darkroom models add --bundled` adds three")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("model", "status", "kind", "runtime", "input", "labels", "digest"):
        table.add_column(title, no_wrap=title != "digest", overflow="ellipsis")
    for model in found:
        for v in model["versions"]:
            size = v["input"]
            width, height = size.get("width_px"), size.get("height_px")
            table.add_row(
                f"{model['name']}@{v['version']}",
                f"[green]{v['status']}[/green]" if v["status"] == "active" else f"[dim]{v['status']}[/dim]",
                v["kind"],
                v["runtime"],
                f"{width}x{height} {size['dtype']}" if width else f"any size {size['dtype']}",
                str(len(v["labels"] or [])),
                v["digest"],
            )
    console.print(table)


@app.command()
def retire(
    reference: Annotated[str, typer.Argument(help="NAME@VERSION", metavar="NAME@VERSION")],
    ready_file: ReadyFile = None,
) -> None:
    """Retire a version: no new runs; those accepted before go on."""
    name, at, version = reference.partition("@")
    if not (name and at and version):
        raise refused(f"{reference!r} is not of the form NAME@VERSION")
    with plainly(), clients(ready_file) as (commands, _):
        require(commands.retire_model(name, version))
    typer.echo(f"{reference} is retired")


def register(commands: CommandClient, queries: QueryClient, files: Iterable[ModelFile]) -> Iterable[str]:
    """Registers models one by one, and says so once the query API lists each. Raises Refused, Unreachable."""
    for file in files:
        require(commands.register_model(file.description, file.artifact))
        entry = _listed(queries, file)
        size_kb = file.artifact.stat().st_size / 1000
        yield f"{file.reference:<28} {entry['kind']}, {entry['runtime']}, {size_kb:.0f} kB, {entry['digest']}"


def _listed(queries: QueryClient, file: ModelFile) -> Mapping[str, Any]:
    """The version as the query API lists it, once it does."""
    until = monotonic() + LISTED_TIMEOUT_S
    while monotonic() < until:
        for model in queries.models():
            if model["name"] == file.description["name"]:
                for version in model["versions"]:
                    if version["version"] == file.description["version"]:
                        return dict(version)
        threading.Event().wait(_LOOK_EVERY_S)
    raise Unreachable(f"{file.reference} is registered, but not listed after {LISTED_TIMEOUT_S:g} s")


def not_fetched_yet(entry: Mapping[str, Any]) -> UserError:
    """What to do about a model that only its publisher has."""
    source = entry["source"]
    where = source.get("handle") or source.get("url")
    return UserError(
        f"{entry['name']} is published at {where}, and the service cannot fetch models yet. Get it there, then:\n"
        f"  darkroom models add PATH --name {entry['name']} --version {entry['version']} --kind {entry['kind']} "
        "--labels FILE"
    )
