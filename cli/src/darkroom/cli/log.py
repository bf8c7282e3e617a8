"""`darkroom log`: the backup of the truth. Topics into files, files into topics, and the blobs that they name."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from darkroom.cli.bar import told_on
from darkroom.cli.connect import Stack, find_stack
from darkroom.cli.logblobs import blobs
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, refused
from darkroom.cli.truth import TOPICS, opened_logs
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.exporting import Source, export
from darkroom.runtime.archive.manifest import ListedBlobs, Manifest
from darkroom.runtime.archive.restoring import restore
from darkroom.runtime.archive.verifying import compare, verify
from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.settings import read_settings

_START_TIMEOUT_S = 30.0

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Backs up the log, and restores it.")
app.command("blobs")(blobs)

Folder = Annotated[Path, typer.Argument(help="The folder of the archive.")]
ReadyFile = Annotated[Path | None, typer.Option(help="The ready file of the stack to work on.")]


@app.command("export")
def export_command(folder: Folder, ready_file: ReadyFile = None) -> None:
    """Write the log into a folder: everything at first, later only what is new.

    Services may go on working: it goes up to where the log ends when it begins.
    Killed half way, start it again.
    """
    console = Console(highlight=False, soft_wrap=True)
    with _plainly():
        stack = find_stack(ready_file, needs=("kafka",))
        with opened_logs(stack) as logs, told_on(console) as tell:
            done = export({name: Source(logs[name].topic, logs[name]) for name in TOPICS}, folder, tell)
    console.print(f"{done.written} events written, the archive holds {_summary(done.manifest)}")
    if done.manifest.blobs is not None:
        console.print(_blob_summary(done.manifest.blobs))


@app.command("verify")
def verify_command(
    folder: Folder,
    against_log: Annotated[bool, typer.Option("--against-log", help="Compare it with the log, too.")] = False,
    ready_file: ReadyFile = None,
) -> None:
    """Check every file and every record of an archive. Exit code 1 if it is not what was written.

    No broker is needed, unless it is compared with the log.
    """
    console = Console(highlight=False, soft_wrap=True)
    with plainly():
        if not folder.is_dir():
            raise refused(f"there is no folder {folder}")
        try:
            with told_on(console) as tell:
                manifest = verify(folder, tell)
            if manifest.lacking:
                raise ArchiveError(
                    f"what is there is what was written, but the last export into {folder} was interrupted, "
                    f"{manifest.lacking} events are missing: export again"
                )
            console.print(f"the archive is what was written: {_summary(manifest)}")
            if against_log:
                stack = find_stack(ready_file, needs=("kafka",))
                with opened_logs(stack) as logs, told_on(console) as tell:
                    compare(folder, manifest, logs, tell)
                console.print("every record stands in the log as it is archived")
        except ArchiveError as error:
            refused(str(error))
            raise typer.Exit(EXIT_OUTCOME) from None


@app.command("restore")
def restore_command(
    folder: Folder,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Also from an archive whose last export was interrupted.")
    ] = False,
    ready_file: ReadyFile = None,
) -> None:
    """Write an archive into empty topics, every record at the offset that it had. Stop all services before.

    They are the stack's, or DARKROOM_TOPIC_JOBS and DARKROOM_TOPIC_MODELS, and are made if they are missing.
    Killed half way, start it again.
    """
    console = Console(highlight=False, soft_wrap=True)
    with _plainly():
        stack = find_stack(ready_file, needs=("kafka",))
        with ExitStack() as opened:

            def open_logs(manifest: Manifest) -> dict[str, KafkaLog]:
                _make_topics(stack, manifest)
                return opened.enter_context(opened_logs(stack))

            with told_on(console) as tell:
                done = restore(folder, open_logs, tell, incomplete=incomplete)
    found = f" ({done.found} stood there already)" if done.found else ""
    topics = " and ".join(stack.topics[name] for name in done.manifest.topics)
    console.print(f"{done.written} events restored{found}, each compared with the archive, into {topics}")
    console.print(
        "The topics are new ones to all that was made from the old. Before the services start again:\n"
        f"  drop the database {stack.mongodb_database} in MongoDB, or name a new one (DARKROOM_MONGODB_DATABASE):\n"
        "  the projector builds it from the log; `darkroom replay --check` then proves it equal\n"
        "  heads files need nothing: they are made anew for another topic\n"
        f"  `darkroom log blobs {folder}` says which blobs are missing"
    )


@contextmanager
def _plainly() -> Iterator[None]:
    with plainly():
        try:
            yield
        except ValueError as error:  # ArchiveError, and what is wrong with a topic
            raise refused(str(error)) from None


def _make_topics(stack: Stack, manifest: Manifest) -> None:
    """Those that are missing. Raises ValueError for one that stands there with other partitions, LogUnavailable."""
    replication = read_settings().replication
    for name, topic in manifest.topics.items():
        spec = TopicSpec(stack.topics[name], len(topic.partitions), replication, TRUTH)
        ensure_topics(stack.kafka, [spec], _START_TIMEOUT_S)


def _summary(manifest: Manifest) -> str:
    counts = ", ".join(f"{topic.events} of {name}" for name, topic in manifest.topics.items())
    size_bytes = sum(s.size_bytes for t in manifest.topics.values() for p in t.partitions for s in p.segments)
    return f"{counts}, {decimal(size_bytes)}, as of {manifest.exported_at:%Y-%m-%d %H:%M:%S} UTC"


def _blob_summary(blobs: ListedBlobs) -> str:
    unreadable = f"; {blobs.unreadable} unreadable events may name more" if blobs.unreadable else ""
    return (
        f"it names {blobs.required} blobs, which are not in it (and {blobs.released} of deleted jobs){unreadable}: "
        "back up the blob store too; `darkroom log blobs` says what is missing"
    )
