"""The same records give the same bytes: in whatever process, and however partitions are interleaved."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from darkroom.projector import projections
from darkroom.projector.batches import by_partition
from darkroom.projector.checksum import Checksum, checksum
from darkroom.projector.projections.families import JOBS
from darkroom.projector.shelf import Shelf
from darkroom.projector.testing import ROUGH, bulk_traffic
from darkroom.runtime.eventlog.port import Record

PARTITIONS = 4
FOLDER = Path(next(iter(projections.__path__)))


def folded(batches: Iterator[Sequence[Record]]) -> dict[str, Checksum]:
    shelves = {p: Shelf() for p in range(PARTITIONS)}
    for batch in batches:
        for partition, records in by_partition(batch):
            shelf = shelves[partition]
            shelf.take(JOBS.fold("t", PARTITIONS, records, shelf.load))
    return {m: checksum(raw for s in shelves.values() for _, raw in s.encoded(m)) for m in JOBS.read_models}


def as_they_come(events: int) -> Iterator[Sequence[Record]]:
    records = bulk_traffic(1, events, PARTITIONS, ROUGH)
    while batch := list(islice(records, 8_000)):
        yield batch


def interleaved_otherwise(events: int) -> Iterator[Sequence[Record]]:
    """Some partitions far ahead of others, and in batches of other sizes."""
    random = Random(2)
    waiting: dict[int, list[Record]] = {p: [] for p in range(PARTITIONS)}
    for record in bulk_traffic(1, events, PARTITIONS, ROUGH):
        batch = waiting[record.partition]
        batch.append(record)
        if len(batch) > 1_000 and random.random() < 0.0005 * (1 + record.partition):
            yield batch
            waiting[record.partition] = []
    yield from reversed(waiting.values())


@pytest.mark.parametrize(
    "events", [50_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_interleaving_changes_no_byte(events: int) -> None:
    first, second = folded(as_they_come(events)), folded(interleaved_otherwise(events))
    assert first == second
    assert first["jobs"].count > events // 8
    assert first["jobs_quarantine"].count > events // 200


SCRIPT = """
from darkroom.projector.projections.families import JOBS
from darkroom.projector.testing import ROUGH, Kept, bulk_traffic
from darkroom.projector.checksum import checksum
kept = Kept()
kept.take(JOBS.fold("t", 1, list(bulk_traffic(5, 2000, 1, ROUGH)), kept.load))
print(*(checksum(kept.encoded(m)) for m in JOBS.read_models), hash("jobs"))
"""


def test_the_seed_of_hashes_changes_no_byte() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate(timeout=60)[0].split() for process in processes)
    assert len(first) == len(JOBS.read_models) + 1
    assert first[-1] != second[-1], "another seed gives other hashes"
    assert first[:-1] == second[:-1]


IMPURE = {"time", "random", "os", "threading", "uuid", "secrets", "socket", "asyncio", "datetime.now", "pymongo"}


def imports(source: str) -> set[str]:
    """The modules that a source imports, by their first name, and whatever is called `now`, `today` or `utcnow`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Attribute) and node.attr in ("now", "today", "utcnow"):
            found.add("datetime.now")
    return found


def test_folds_ask_neither_a_clock_nor_the_system_nor_chance() -> None:
    sources = {path.name: imports(path.read_text()) for path in FOLDER.glob("*.py")}
    assert len(sources) >= 9
    assert {name: found & IMPURE for name, found in sources.items() if found & IMPURE} == {}
    assert imports("from time import monotonic\nimport random.x\nx = datetime.now(UTC)") & IMPURE == {
        "time",
        "random",
        "datetime.now",
    }
