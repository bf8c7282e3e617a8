"""`darkroom submit`: pictures in, results out."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from darkroom.cli.plainly import EXIT_OUTCOME, clients, plainly, refused, require
from darkroom.cli.results import inputs_with_errors, results_table
from darkroom.runtime.ids import new_id
from darkroom.schemas.job import Status
from darkroom.simulator.pictures import MEDIA_TYPES, Picture, read_file, read_folder
from darkroom.simulator.reader import QueryClient

SETTLE_S = 5.0
"""A job that has ended just in time is still read."""
ReadyFile = Annotated[Path | None, typer.Option(help="The ready file of the stack to talk to.")]


def submit(
    files: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", show_default=False)],
    model: Annotated[str, typer.Option("--model", "-m", help="NAME, or NAME@VERSION.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcome and show the results.")] = False,
    top_k: Annotated[int | None, typer.Option(help="Classes per picture (1 to 1000).")] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out what scores less (0 to 1).")] = None,
    max_detections: Annotated[int | None, typer.Option(help="Boxes per picture (1 to 1000).")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to find the job by; repeatable.")] = None,
    deadline_s: Annotated[float | None, typer.Option("--deadline", help="Seconds that a run may take.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the outcome.")] = 300.0,
    ready_file: ReadyFile = None,
) -> None:
    """Submit pictures as one job.

    Exit code 0: accepted, and with --wait succeeded; 1: it ended otherwise, or a picture could not be used;
    2: refused, the service is not there, or the outcome did not come in time.
    """
    pictures = collect(files)
    body: dict[str, Any] = {"model": model}
    parameters = {"top_k": top_k, "min_score": min_score, "max_detections": max_detections}
    given = {name: value for name, value in parameters.items() if value is not None}
    if given:
        body["parameters"] = given
    if label:
        body["labels"] = labels_of(label)
    if deadline_s is not None:
        body["deadline_s"] = deadline_s
    console = Console(highlight=False)
    with plainly(), clients(ready_file) as (commands, queries):
        uploaded = [require(commands.upload(picture)) for picture in pictures]
        body["inputs"] = [{"media": answer.body["digest"]} for answer in uploaded]
        started = monotonic()
        accepted = require(commands.create(body, key=new_id())).body
        console.print(f"job {accepted['id']} of {len(pictures)} picture(s) with {model}", markup=False)
        # Before anything is waited for: the job is accepted, whatever becomes of the waiting.
        console.print(f"page   {accepted['urls']['web']}", markup=False, soft_wrap=True)
        console.print(f"read   curl -s '{accepted['urls']['result']}'", markup=False, soft_wrap=True)
        job = None
        if wait:
            console.print()
            job = outcome(console, queries, accepted, started, timeout_s)
            console.print()
            show_outcome(console, job, [picture.name for picture in pictures])
    if job is not None and (job["status"] != Status.SUCCEEDED or inputs_with_errors(job)):
        raise typer.Exit(EXIT_OUTCOME)


def collect(paths: list[Path]) -> list[Picture]:
    """The pictures of files and folders, in the order given; a file is taken whatever its name."""
    pictures: list[Picture] = []
    for path in paths:
        if path.is_dir():
            found = read_folder(path)
            if not found:
                raise refused(f"{path} holds no pictures ({', '.join(MEDIA_TYPES)})")
            pictures += found
        else:
            try:
                pictures.append(read_file(path))
            except OSError as error:
                raise refused(f"{path}: {error.strerror}") from None
    return pictures


def labels_of(given: list[str]) -> dict[str, str]:
    labels = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not key or not equals:
            raise refused(f"--label {one!r} is not of the form KEY=VALUE")
        labels[key] = value
    return labels


def outcome(
    console: Console, queries: QueryClient, accepted: Mapping[str, Any], started: float, timeout_s: float
) -> Mapping[str, Any]:
    """The job once it has ended; meanwhile a line per status. `timeout_s` counts from `started`. Raises Refused,
    Unreachable."""
    job_id, position, until = accepted["id"], accepted["position"], started + timeout_s
    # From here on the read model knows of the job.
    queries.job(job_id, after=position, patience_s=until - monotonic())
    watch(console, queries, job_id, started, until - monotonic())
    return queries.finished(job_id, after=position, timeout_s=max(SETTLE_S, until - monotonic()))


def watch(console: Console, queries: QueryClient, job_id: str, started: float, timeout_s: float) -> None:
    """One line per status, with the seconds since the job was sent, until the job has ended."""
    shown = None
    for step in queries.steps(job_id, timeout_s):
        if step.status != shown or step.kind == "execution-progressed":
            data = step.event.get("data") or {}
            progress = f" {data.get('done')} of {data.get('total')}" if "done" in data else ""
            console.print(f"{monotonic() - started:8.3f} s  {step.status}{progress}")
        shown = step.status


def show_outcome(console: Console, job: Any, names: list[str]) -> None:
    """The results as a table, or why there are none."""
    if job.get("error"):
        error = job["error"]
        console.print(f"[red]{escape(error['title'])}[/red]: {escape(error['detail'])}  ({escape(error['type'])})")
    elif job.get("results"):
        console.print(results_table(job, names))
        timing = job.get("timing") or {}
        stages = [f"{stage.removesuffix('_ms')} {ms:.0f} ms" for stage, ms in timing.items()]
        console.print(f"[dim]{job['model']['name']}@{job['model']['version']}: {', '.join(stages)}[/dim]")
    else:
        console.print(f"the job is {job['status']}")
