"""`darkroom demo`: the whole of it in a minute, and exit code 0 only if every outcome was the right one."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from darkroom.cli.demobatch import Exhibit, broken_exhibit, bundled_exhibits, real_models, specimen_file
from darkroom.cli.demostack import LiveTail, run_command, running_stack
from darkroom.cli.modelfiles import bundled
from darkroom.cli.models import register
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, require
from darkroom.cli.results import in_short
from darkroom.runtime.ids import new_id
from darkroom.simulator import pictures, specimens
from darkroom.simulator.client import Answer, CommandClient
from darkroom.simulator.reader import QueryClient, Refused

RUN_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Command:
    """An accepted command: the job, and from which position on the read model knows of it."""

    job_id: str
    position: str


def command_of(answer: Answer) -> Command:
    """Raises Refused."""
    body = require(answer).body
    return Command(str(body["id"]), str(body["position"]))


@dataclass(slots=True)
class Outcome:
    """One line of the final table. `wrong`: what is not as it should be."""

    title: str
    status: str
    shows: str
    ms: float | None = None
    wrong: str | None = None


@dataclass(slots=True)
class Demo:
    """What the parts of the demonstration share."""

    console: Console
    commands: CommandClient
    queries: QueryClient
    tail: LiveTail
    outcomes: list[Outcome] = field(default_factory=list)

    def submit(self, exhibit: Exhibit) -> Command:
        """Creates the exhibit's job."""
        body: dict[str, Any] = {"model": exhibit.model, "inputs": [], "labels": {"shows": "demo"}}
        body["inputs"] = [{"media": require(self.commands.upload(p)).body["digest"]} for p in exhibit.pictures]
        if exhibit.parameters:
            body["parameters"] = dict(exhibit.parameters)
        return command_of(self.commands.create(body, new_id()))

    def judge(self, command: Command, exhibit: Exhibit, run: int = 1) -> None:
        """Waits until the job has ended after the command, and holds it against what is right."""
        job = self.queries.finished(command.job_id, after=command.position, timeout_s=RUN_TIMEOUT_S)
        wrong = None
        if (job["status"], job["run"]) != (exhibit.status, run):
            wrong = f"run {job['run']} is {job['status']}, not run {run} {exhibit.status}"
        timing = job.get("timing") or {}
        self.outcomes.append(
            Outcome(
                exhibit.title, job["status"], in_short(job), timing.get("running_ms"), wrong or exhibit.check(job)
            )
        )


def demo() -> None:
    """Show the whole of it: jobs, results, the log, a rebuild of the read model; then stop everything.

    Exit code 0 only if every outcome was the right one.
    """
    started = monotonic()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with plainly(), TemporaryDirectory(prefix="darkroom-demo-") as folder:
            heading(console, "1  The stack: Kafka, MongoDB, a blob folder and four services, on free ports")
            with running_stack(console, Path(folder)) as (stack, ready_file):
                ready_s = monotonic() - started
                with (
                    CommandClient(stack.command_url) as commands,
                    QueryClient(stack.query_url) as queries,
                    LiveTail(console, stack) as tail,
                ):
                    show = Demo(console, commands, queries, tail)
                    _run(show, Path(folder))
                    result_s = tail.first_result_at - started if tail.first_result_at is not None else None
                heading(console, "5  The jobs, as the query API gives them")
                console.print(outcomes_table(show.outcomes))
                rebuilt = _rebuild(console, ready_file)
            wrong = [f"{o.title}: {o.wrong}" for o in show.outcomes if o.wrong]
            wrong += [] if rebuilt else ["the rebuilt read model was not proved equal"]
            wrong += [f"the live tail failed: {tail.failure}"] if tail.failure else []
            _farewell(console, ready_s, result_s, wrong)
    except KeyboardInterrupt:
        console.print("\nstopped; nothing is left running")
        raise typer.Exit(130) from None
    if wrong:
        raise typer.Exit(EXIT_OUTCOME)


def _run(show: Demo, folder: Path) -> None:
    heading(show.console, "2  Models")
    # Before anything takes long: the first result is what a newcomer waits for.
    for line in register(show.commands, show.queries, bundled()):
        show.console.print(f"  {line}", markup=False, soft_wrap=True)
    heading(show.console, "3  Jobs, and the log as it grows")
    exhibits = bundled_exhibits()
    jobs = [(show.submit(exhibit), exhibit) for exhibit in exhibits]
    extra = [specimen_file(specimens.garbage(), folder), specimen_file(specimens.endless(), folder)]
    real = real_models(folder)
    files = [*(real.models if real else ()), *extra]
    registered = list(register(show.commands, show.queries, files))
    for exhibit in [*(real.exhibits if real else ()), broken_exhibit(exhibits[0].pictures)]:
        jobs.append((show.submit(exhibit), exhibit))
    for created, exhibit in jobs:
        show.judge(created, exhibit)
    heading(show.console, "4  Run again, refused, cancelled, deleted")
    again(show, jobs[2][0].job_id, exhibits[2])
    refuse(show)
    cancel(show, exhibits[0].pictures)
    delete(show, exhibits[0])
    show.console.print(f"[dim]registered on the way: {', '.join(line.split()[0] for line in registered)}[/dim]")
    if real is None:
        show.console.print("[dim]no test data with real models and photos: set DARKROOM_TESTDATA to use it[/dim]")


def again(show: Demo, job_id: str, exhibit: Exhibit) -> None:
    """The same job once more with other parameters: a second run, and the first one is kept."""
    asked = command_of(show.commands.run(job_id, new_id(), {"parameters": {"top_k": 1}}))

    def check(job: Any) -> str | None:
        counts = [len(result.get("classes") or []) for result in job.get("results") or []]
        return exhibit.check(job) or (None if set(counts) == {1} else f"{counts} classes, not one each")

    second = Exhibit("the same again, top_k 1", exhibit.model, exhibit.pictures, "succeeded", check)
    show.judge(asked, second, run=2)


def cancel(show: Demo, inputs: Sequence[pictures.Picture]) -> None:
    """A model that never ends is cancelled while it runs: only the cancel can have ended it."""
    exhibit = Exhibit("cancelled while it ran", "endless", inputs, "cancelled", lambda job: None)
    job_id = show.submit(exhibit).job_id
    if show.tail.wait_for(job_id, frozenset({"running"}), RUN_TIMEOUT_S) is None:
        show.outcomes.append(Outcome(exhibit.title, "?", "", wrong="it never started to run"))
        return
    show.judge(command_of(show.commands.cancel(job_id, new_id())), exhibit)


def delete(show: Demo, exhibit: Exhibit) -> None:
    """A job that has succeeded is deleted, and is gone for its readers."""
    title = "deleted"
    created = show.submit(exhibit)
    show.queries.finished(created.job_id, after=created.position, timeout_s=RUN_TIMEOUT_S)
    asked = command_of(show.commands.delete(created.job_id, new_id()))
    try:
        job = show.queries.job(asked.job_id, after=asked.position, patience_s=RUN_TIMEOUT_S)
        show.outcomes.append(Outcome(title, job["status"], "", wrong="a deleted job can still be read"))
    except Refused as refusal:
        wrong = None if refusal.answer.status == 410 else f"it answers {refusal}, not 410"
        show.outcomes.append(Outcome(title, "deleted", "reading it answers 410 Gone", wrong=wrong))


def refuse(show: Demo) -> None:
    """A broken picture is refused at the door, with a reason, and the log is none the longer."""
    before = require(show.commands.positions()).body
    answer = show.commands.create_from_files("shapes-classifier", [pictures.truncated()], new_id())
    wrong = None
    if (answer.status, answer.problem) != (422, "picture-broken"):
        wrong = f"it was answered with {answer.status} {answer.problem or answer.body}"
    elif require(show.commands.positions()).body != before:
        wrong = "something was appended to the log all the same"
    show.outcomes.append(Outcome("a broken picture", "refused", answer.explain(), wrong=wrong))


def _rebuild(console: Console, ready_file: Path) -> bool:
    """The read model once more from the log, checksums compared and switched to; then the proof on its own."""
    heading(console, "6  The read model, developed again from the log")
    return not run_command(console, ready_file, "replay") and not run_command(
        console, ready_file, "replay", "--check"
    )


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "job", "status", "run, ms", "result"):
        table.add_column(title, justify="right" if title == "run, ms" else "left", overflow="fold")
    for o in outcomes:
        mark = "[red]✗[/red]" if o.wrong else "[green]✓[/green]"
        ms = f"{o.ms:.0f}" if o.ms is not None else ""
        table.add_row(mark, o.title, o.status, ms, f"[red]{escape(o.wrong)}[/red]" if o.wrong else escape(o.shows))
    return table


def heading(console: Console, text: str) -> None:
    console.print()
    console.print(f"[bold]{text}[/bold]")


def _farewell(console: Console, ready_s: float, result_s: float | None, wrong: Sequence[str]) -> None:
    console.print()
    first = f"{result_s:.1f} s" if result_s is not None else "never"
    console.print(f"set-up took {ready_s:.1f} s, the first result was there after {first}")
    if wrong:
        console.print(f"[red]{len(wrong)} outcomes were not the expected ones:[/red]")
        for one in wrong:
            console.print(f"  {one}", markup=False)
    else:
        console.print("[green]every outcome was the expected one[/green]")
    console.print("nothing was left running. To have it stay:")
    for what, line in (
        ("start it", "make up"),
        ("page", "http://127.0.0.1:8081/"),
        ("add models", ".venv/bin/darkroom models add --bundled"),
        ("submit", ".venv/bin/darkroom submit models/samples --model shapes-detector --wait"),
        (
            "or by curl",
            "curl -s -F model=shapes-classifier -F file=@models/samples/star.jpg "
            "http://127.0.0.1:8080/api/v1/inference/jobs",
        ),
        ("read", "curl -s http://127.0.0.1:8081/api/v1/inference/jobs"),
        ("watch", ".venv/bin/darkroom tail"),
    ):
        console.print(f"  {what:<11} {line}", markup=False, soft_wrap=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
