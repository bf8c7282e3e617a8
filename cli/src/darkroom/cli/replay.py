"""`darkroom replay`: the read models built again from the log, proved equal, and switched to."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from darkroom.cli.bar import told_on
from darkroom.cli.connect import Stack, find_stack
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, refused
from darkroom.cli.replayreport import conclude, show, told_as
from darkroom.projector.past import build_past
from darkroom.projector.projections.families import FAMILIES, JOBS, Family, family_of
from darkroom.projector.rebuild_job import rebuild_job
from darkroom.projector.replay import Address, Effort, Mode
from darkroom.projector.replay import replay as run_replay
from darkroom.projector.replaying.moments import name_of, parse_as_of, vectors_as_of
from darkroom.projector.store import Store
from darkroom.projector.store_generations import prune
from darkroom.projector.store_lease import Lease
from darkroom.projector.store_past import drop_past, past_database, pasts_of
from darkroom.projector.switching import roll_back
from darkroom.runtime.eventlog.kafka import KafkaLog

CONNECT_TIMEOUT_S = 10.0


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
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the generation before, which was carried on.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Drop the generations kept for a rollback.")] = False,
    job: Annotated[
        str, typer.Option(metavar="ID", help="Rebuild the documents of this one job (the statistics are not).")
    ] = "",
    as_of: Annotated[
        str,
        typer.Option(
            metavar="TIME|POSITION", help="Build the read models as they were, in a database of their own."
        ),
    ] = "",
    drop: Annotated[bool, typer.Option("--drop", help="With --as-of: drop that database again.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes. Default: one per core, none for a small log.")
    ] = None,
    memory: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="What one worker may hold of documents in memory.")
    ] = 512,
    max_rate: Annotated[
        float | None, typer.Option(min=1, metavar="EVENTS", help="Events per second, over all workers.")
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to work on.")] = None,
) -> None:
    """Build the next generation of the read models from the log, compare it with the live one, and switch to it.

    Readers see no gap, and a projector may go on working; while it falls behind, the replay goes slower. Killed
    half way, it can simply be started again.
    """
    console = Console(highlight=False)
    with plainly(), ExitStack() as opened:
        if sum((dry_run, check, repair, rollback, prune, bool(job), bool(as_of))) > 1:
            raise refused("give one of --dry-run, --check, --repair, --rollback, --prune, --job, --as-of")
        if drop and not as_of:
            raise refused("--drop is for a database of the past: say which one with --as-of")
        if job and models:
            raise refused("--job rebuilds all documents of a job: name no read models")
        mode = Mode.CHECK if check else Mode.DRY_RUN if dry_run else Mode.REPAIR if repair else Mode.SWITCH
        try:
            families = list(dict.fromkeys(family_of(m) for m in models) if models else FAMILIES)
            command = _Command(console, opened, find_stack(ready_file, needs=("kafka", "mongodb")), families)
            command.effort = Effort(workers, memory * 2**20, max_rate, command.address)
            if job:
                command.job(job)
            elif as_of:
                command.as_of(as_of, drop)
            elif rollback:
                command.roll_back()
            elif prune:
                command.prune()
            elif not command.replay(mode):
                raise typer.Exit(EXIT_OUTCOME)
        except ValueError as error:
            raise refused(str(error)) from None


@dataclass
class _Command:
    """One call of the command, with what it has opened. Each method raises ValueError with a sentence."""

    console: Console
    opened: ExitStack
    stack: Stack
    families: list[Family]
    effort: Effort = Effort()  # noqa: RUF009 - it cannot change

    def __post_init__(self) -> None:
        self._store = self._store_of(self.stack.mongodb_database)

    @property
    def address(self) -> Address:
        return Address(self.stack.kafka, self.stack.mongodb, self.stack.mongodb_database)

    def replay(self, mode: Mode) -> bool:
        """Replays each family and prints what came of it; False where the outcome asks for a person."""
        good = True
        for family in self.families:
            log = self._log(family)
            self.console.print(f"[bold]{', '.join(family.read_models)}[/bold] from {log.topic}")
            with told_on(self.console) as told:
                report = run_replay(
                    self._store, log, log.topic, family, mode, told_as(told), self.console.print, self.effort
                )
            show(self.console, report)
            good &= conclude(self.console, report, mode)
        return good

    def job(self, job: str) -> None:
        log = self._log(JOBS)
        written = rebuild_job(self._store, log, log.topic, job)
        self.console.print(f"job {job}: " + ", ".join(f"{count} in {m}" for m, count in written.items()))
        self.console.print("the statistics count across jobs, and were not touched")

    def roll_back(self) -> None:
        for family in self.families:
            log = self._log(family)
            generation = roll_back(self._store, log, log.topic, family, self.console.print)
            self.console.print(
                f"{family.name}: went back to generation {generation}; the one before is carried on in its turn"
            )

    def prune(self) -> None:
        for family in self.families:
            with Lease(self._store, family, self.console.print):
                dropped = prune(self._store, family)
            said = f"dropped generation {', '.join(map(str, dropped))}" if dropped else "nothing to drop"
            self.console.print(f"{family.name}: {said}")
        for name in pasts_of(self._store):
            self.console.print(f"database {name} holds a moment of the past; it stays until --as-of … --drop")

    def as_of(self, text: str, drop: bool) -> None:
        moment = parse_as_of(text)
        past = self._store_of(past_database(self.stack.mongodb_database, name_of(moment)))
        name = past.database.name
        if drop:
            if not drop_past(past):
                raise ValueError(f"there is no database {name}")
            self.console.print(f"dropped database {name}")
            return
        logs = {family.name: self._log(family) for family in FAMILIES}
        vectors = vectors_as_of(moment, logs, datetime.now(UTC))
        topics = {family: (logs[family.name].topic, logs[family.name]) for family in self.families}
        with told_on(self.console) as told:
            built = build_past(self._store, past, topics, vectors, self.effort, told_as(told), self.console.print)
        events = ", ".join(f"{count} events of {family}" for family, count in built.events.items())
        self.console.print(f"database {name}: {events}")
        if JOBS in self.families:
            jobs = ", ".join(f"{count} {status}" for status, count in sorted(built.jobs.items()))
            self.console.print(f"  jobs: {jobs or 'none'}")
        # A stack that the settings name needs no address, and only there can it hold a password.
        where = f"DARKROOM_MONGODB='{self.stack.mongodb}' " if self.stack.data else ""
        self.console.print(
            f"  look at it: {where}DARKROOM_MONGODB_DATABASE={name} DARKROOM_QUERY_PORT=8091 "
            "python -m darkroom.query_api\n"
            f"  drop it:    darkroom replay --as-of {text} --drop",
            soft_wrap=True,
        )

    def _log(self, family: Family) -> KafkaLog:
        log = KafkaLog(self.stack.kafka, self.stack.topics[family.name], connect_timeout_s=CONNECT_TIMEOUT_S)
        self.opened.callback(log.close, 1.0)
        return log

    def _store_of(self, database: str) -> Store:
        store = Store(self.stack.mongodb, database)
        self.opened.callback(store.close)
        return store
