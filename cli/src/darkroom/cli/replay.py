"""`darkroom replay`: the read models built again from the log, proved equal, and switched to."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console

from darkroom.cli.bar import told_on
from darkroom.cli.connect import Stack, find_stack
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, refused
from darkroom.cli.readmodels import opened_store, require
from darkroom.cli.replayreport import conclude, show, told_as
from darkroom.cli.stopping import stopped_like_ctrl_c
from darkroom.projector.ends import end_offsets
from darkroom.projector.past import build_past, give_up_past
from darkroom.projector.projections.families import FAMILIES, JOBS, Family, family_of
from darkroom.projector.rebuild_job import rebuild_job
from darkroom.projector.replay import Address, Effort, Mode, Report
from darkroom.projector.replay import replay as run_replay
from darkroom.projector.replaying.moments import name_of, parse_as_of, vectors_as_of
from darkroom.projector.store import Fenced, Store
from darkroom.projector.store_generations import abandon, alias_of, live_generation, prune
from darkroom.projector.store_lease import Lease
from darkroom.projector.store_past import past_database, pasts_of
from darkroom.projector.switching import roll_back
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.schemas.errors import LogUnavailable, StoreUnavailable

CONNECT_TIMEOUT_S = 10.0
ENDS_TIMEOUT_S = 5.0
MEMORY_MIB = 512
EXIT_STOPPED = 130


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
        str | None,
        typer.Option(metavar="ID", help="Rebuild the documents of this one job (the statistics are not)."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|POSITION", help="Build the read models as they were, in a database of their own."
        ),
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="With --as-of: drop that database again.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes. Default: one per core, none for a small log.")
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="MIB", help=f"What one worker may hold of documents in memory. Default: {MEMORY_MIB}."
        ),
    ] = None,
    max_rate: Annotated[
        float | None, typer.Option(min=1, metavar="EVENTS", help="Events per second, over all workers.")
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to work on.")] = None,
) -> None:
    """Build the next generation of the read models from the log, compare it with the live one, and switch to it.

    Readers see no gap, and a projector may go on working; while it falls behind, the replay goes slower.
    Killed half way, it can simply be started again.
    """
    console = Console(highlight=False, soft_wrap=True)
    with plainly(), ExitStack() as opened:
        if sum((dry_run, check, repair, rollback, prune, job is not None, as_of is not None)) > 1:
            raise refused("give one of --dry-run, --check, --repair, --rollback, --prune, --job, --as-of")
        if "" in (job, as_of):
            raise refused("--job and --as-of need a value: an empty one names nothing")
        if drop and as_of is None:
            raise refused("--drop is for a database of the past: say which one with --as-of")
        if job is not None and models:
            raise refused("--job rebuilds all documents of a job: name no read models")
        if (rollback or prune or drop or job is not None) and (workers or memory or max_rate):
            raise refused(
                "--workers, --memory and --max-rate are for folding a whole log: they mean nothing to --rollback, "
                "--prune, --drop and --job"
            )
        mode = Mode.CHECK if check else Mode.DRY_RUN if dry_run else Mode.REPAIR if repair else Mode.SWITCH
        try:
            families = list(dict.fromkeys(family_of(m) for m in models) if models else FAMILIES)
            command = _Command(console, opened, find_stack(ready_file, needs=("kafka", "mongodb")), families)
            command.effort = Effort(workers, (memory or MEMORY_MIB) * 2**20, max_rate, command.address)
            with stopped_like_ctrl_c():
                if job is not None:
                    command.job(job)
                elif as_of is not None:
                    command.as_of(as_of, drop)
                elif rollback:
                    command.roll_back()
                elif prune:
                    command.prune()
                elif not command.replay(mode):
                    raise typer.Exit(EXIT_OUTCOME)
        except KeyboardInterrupt:
            console.print("stopped")
            raise typer.Exit(EXIT_STOPPED) from None
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
        if mode in (Mode.CHECK, Mode.DRY_RUN):
            require(self._store, self.families)
        good, changed = True, False
        for family in self.families:
            log = self._log(family)
            self.console.print(f"[bold]{', '.join(family.read_models)}[/bold] from {log.topic}")
            before = self._live(family)
            try:
                with told_on(self.console) as told:
                    report = run_replay(
                        self._store, log, log.topic, family, mode, told_as(told), self.console.print, self.effort
                    )
            except KeyboardInterrupt:
                self.console.print(f"stopped; {self._left(family, before, changed)}")
                raise typer.Exit(EXIT_STOPPED) from None
            show(self.console, report)
            good &= conclude(self.console, report, mode, _further(report, log))
            changed |= report.switched
        return good

    def job(self, job: str) -> None:
        require(self._store, [JOBS])
        log = self._log(JOBS)
        written = rebuild_job(self._store, log, log.topic, job)
        self.console.print(f"job {job}: " + ", ".join(f"{count} in {m}" for m, count in written.items()))
        self.console.print("the statistics count across jobs, and were not touched")

    def roll_back(self) -> None:
        require(self._store, self.families)
        for family in self.families:
            log = self._log(family)
            generation = roll_back(self._store, log, log.topic, family, self.console.print)
            self.console.print(
                f"{family.name}: went back to generation {generation}; the one before is kept in its turn"
            )

    def prune(self) -> None:
        require(self._store, self.families)
        for family in self.families:
            with Lease(self._store, family, self.console.print):
                building = alias_of(self._store, family)["building"]
                if building is not None:  # by nobody: whoever builds one holds this lease
                    abandon(self._store, family, building)
                    self.console.print(
                        f"{family.name}: dropped generation {building}, which nobody builds any more"
                    )
                dropped = prune(self._store, family)
            if dropped or building is None:
                said = f"dropped generation {', '.join(map(str, dropped))}" if dropped else "nothing to drop"
                self.console.print(f"{family.name}: {said}")
        for name in pasts_of(self._store):
            self.console.print(f"database {name} holds a moment of the past; it stays until --as-of … --drop")

    def as_of(self, text: str, drop: bool) -> None:
        moment = parse_as_of(text)
        past = self._store_of(past_database(self.stack.mongodb_database, name_of(moment)))
        name = past.database.name
        if drop:
            if not give_up_past(self._store, past, self.console.print):
                raise ValueError(f"there is no database {name}")
            self.console.print(f"dropped database {name}")
            return
        logs = {family.name: self._log(family) for family in FAMILIES}
        vectors = vectors_as_of(moment, logs, datetime.now(UTC))
        topics = {family: (logs[family.name].topic, logs[family.name]) for family in self.families}
        with told_on(self.console) as told:
            try:
                built = build_past(
                    self._store, past, topics, vectors, self.effort, told_as(told), self.console.print
                )
            except KeyboardInterrupt:
                self.console.print(f"stopped; database {name} is not finished: the same command builds it anew")
                raise typer.Exit(EXIT_STOPPED) from None
        events = ", ".join(f"{count} events of {family}" for family, count in built.events.items())
        self.console.print(f"database {name}: {events}")
        if JOBS in self.families:
            jobs = ", ".join(f"{count} {status}" for status, count in sorted(built.jobs.items()))
            self.console.print(f"  jobs: {jobs or 'none'}")
        self.console.print(
            f"  look at it: {self._where()}DARKROOM_MONGODB_DATABASE={name} DARKROOM_QUERY_PORT=8091 "
            f"{quote(sys.executable)} -m darkroom.query_api\n"
            f"  drop it:    darkroom replay --as-of {quote(text)} --drop",
            markup=False,
        )

    def _where(self) -> str:
        """The addresses of a stack that a ready file names. One that the settings name needs none, and only there
        can they hold a password."""
        if not self.stack.data:
            return ""
        addresses = {
            "DARKROOM_MONGODB": self.stack.mongodb,
            "DARKROOM_BLOBS": self.stack.blobs,
            "DARKROOM_COMMAND_URL": self.stack.command_url,
        }
        return "".join(f"{setting}={quote(address)} " for setting, address in addresses.items() if address)

    def _left(self, family: Family, before: int | None, changed: bool) -> str:
        """What a replay that was stopped has left. `changed`: another family was switched before."""
        now = self._live(family)
        if now == before:
            return f"nothing of {family.name} was changed" if changed else "nothing was changed"
        if now is None:
            return "which generation is live could not be asked: `darkroom status`"
        return f"{family.name} is at generation {now}"

    def _live(self, family: Family) -> int | None:
        """The generation that readers read; None if there is none, or nobody can say."""
        try:
            return live_generation(self._store, family)
        except (Fenced, StoreUnavailable):
            return None

    def _log(self, family: Family) -> KafkaLog:
        log = KafkaLog(self.stack.kafka, self.stack.topics[family.name], connect_timeout_s=CONNECT_TIMEOUT_S)
        self.opened.callback(log.close, 1.0)
        return log

    def _store_of(self, database: str) -> Store:
        return self.opened.enter_context(opened_store(self.stack, database))


def _further(report: Report, log: KafkaLog) -> int | None:
    """How many events the log holds beyond what was compared; None if it does not say."""
    try:
        ends = end_offsets(log, ENDS_TIMEOUT_S)
    except LogUnavailable:
        return None
    return sum(max(0, end - report.vector.get(partition, 0)) for partition, end in ends.items())
