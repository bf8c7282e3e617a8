"""`darkroom log blobs`: which blobs the log names, and which of them are missing."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from darkroom.cli.bar import told_on
from darkroom.cli.connect import find_stack
from darkroom.cli.plainly import EXIT_OUTCOME, plainly, refused
from darkroom.cli.truth import opened_logs
from darkroom.runtime.archive.blobs import BlobNames, NamedBlob, names_of_archive, names_of_logs
from darkroom.runtime.archive.manifest import read_manifest
from darkroom.runtime.blobs import BlobStore, open_blobs
from darkroom.runtime.settings import read_settings

_ASKED_AT_ONCE = 16
_PAGE = 500


def blobs(
    folder: Annotated[Path | None, typer.Argument(help="Of an archive; otherwise the log is read.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only those that are missing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line for each.")] = False,
    ready_file: Annotated[Path | None, typer.Option(help="The ready file of the stack to look at.")] = None,
) -> None:
    """List the blobs that the log names, and whether the blob store has them. Exit code 1 if one is missing.

    Those that only deleted jobs name are released: nobody needs them.
    """
    console = Console(highlight=False, soft_wrap=True, stderr=True)
    counts = {"present": 0, "missing": 0, "released": 0}
    with plainly(), BlobNames() as names:
        try:
            store = _store(folder, ready_file)
            with told_on(console) as tell:
                if folder is not None:
                    names_of_archive(folder, read_manifest(folder), names, tell)
                else:
                    with opened_logs(find_stack(ready_file, needs=("kafka",))) as logs:
                        names_of_logs(logs, names, tell)
        except ValueError as error:
            raise refused(str(error)) from None
        for blob, state in _states(names, store):
            counts[state] += 1
            if state == "missing" or not missing:
                typer.echo(_json(blob, state) if as_json else _line(blob, state))
    console.print(", ".join(f"{count} {state}" for state, count in counts.items()))
    if names.unreadable:
        console.print(f"{names.unreadable} unreadable events may name more")
    if counts["missing"]:
        raise typer.Exit(EXIT_OUTCOME)


def _store(folder: Path | None, ready_file: Path | None) -> BlobStore:
    """That of the stack; for an archive, the settings alone are enough."""
    settings = read_settings()
    if folder is None or ready_file is not None or "DARKROOM_BLOBS" not in os.environ:
        settings = replace(settings, blobs=find_stack(ready_file, needs=("blobs",)).blobs)
    return open_blobs(settings)


def _states(names: BlobNames, store: BlobStore) -> Iterator[tuple[NamedBlob, str]]:
    def state(blob: NamedBlob) -> str:
        return "released" if not blob.named_by else "present" if store.exists(blob.digest) else "missing"

    found = iter(names)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads:
        while page := list(islice(found, _PAGE)):  # so that memory holds one page, however many there are
            yield from zip(page, threads.map(state, page), strict=True)


def _line(blob: NamedBlob, state: str) -> str:
    return f"{blob.digest}  {state:<8}  {','.join(blob.kinds):<12}  named by {blob.named_by}"


def _json(blob: NamedBlob, state: str) -> str:
    shown = {"digest": blob.digest, "state": state, "kinds": blob.kinds, "named_by": blob.named_by}
    return orjson.dumps(shown).decode()
