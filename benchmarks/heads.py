"""The heads file: how long do lookups and updates take, how much memory, and how does an instance start?

    python benchmarks/heads.py                          # 10^4, 10^5, 10^6 heads
    python benchmarks/heads.py --sizes 10000000         # once, a few minutes
    python benchmarks/heads.py --lmdb FOLDER            # beside LMDB, installed there:
                                                        # uv pip install --target FOLDER lmdb

Keys are UUIDv7, as the command API makes them; an event updates a head, takes a slot among the remembered commands,
and moves a position. Times are processor time of the process (user + system), so that a busy machine does not count
as slowness; the best of three rounds. Memory is that of a fresh process that has opened the file and looked up
100,000 heads at random: `anon` is its own memory, `rss` includes the pages of mapped files.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from obstore.store import LocalStore

from darkroom.runtime import headsrows as rows
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.headscopy import HeadCopies, HeadsCopier
from darkroom.runtime.headsfold import REMEMBERED_OFFSETS
from darkroom.runtime.ids import new_id
from darkroom.schemas.chain import partition_of
from darkroom.schemas.job import Head, Status

PARTITIONS = 8
HASH = "5e" * 32
LOOKUPS = 100_000
Row = tuple[Any, ...]
"""A head as rows.INSERT_HEAD takes it."""


class EndlessLog:
    """A log of any length, of which nothing is read: records come from `events`."""

    topic_id = "benchmark"
    partitions = PARTITIONS

    def end_offset(self, partition: int, timeout_s: float) -> int:
        return 10**15

    def read_one(self, partition: int, offset: int, timeout_s: float) -> Record:
        return Record(partition, offset, None, None, [], 0)  # as the filled files have it


def head_at(offset: int) -> Head:
    create_hash = os.urandom(32).hex()
    return Head("default", 3, new_id(), Status.SUCCEEDED, 1, 1, new_id(), create_hash, offset, offset, offset + 2)


class Sqlite:
    """The product's file, below the fold."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "heads.sqlite"
        self._store = HeadStore(self.path, EndlessLog())  # type: ignore[arg-type]

    def fill(self, found: Iterator[Row]) -> None:
        file, offset = self._store._file, 0
        while chunk := list(islice(found, 20_000)):
            offset = chunk[-1][-1] + 1
            with file.transaction():
                file.db.executemany(rows.INSERT_HEAD, chunk)
        ends = [(offset, offset // 3 // PARTITIONS, partition) for partition in range(PARTITIONS)]
        with file.transaction():
            file.db.executemany("UPDATE positions SET next_offset = ?, heads = ? WHERE partition = ?", ends)

    def get(self, key: str) -> Any:
        return self._store.get(key)

    def update(self, changes: list[tuple[str, Head]]) -> None:
        file = self._store._file
        with file.transaction():
            for key, _ in changes:
                file.db.execute(rows.SELECT_HEAD, (rows.packed(key),)).fetchone()
            file.db.executemany(rows.UPDATE_HEAD, [rows.change_of(key, head) for key, head in changes])
            file.db.executemany(
                rows.INSERT_COMMAND,
                [
                    (
                        partition_of(key, PARTITIONS) * REMEMBERED_OFFSETS + head.last_offset % REMEMBERED_OFFSETS,
                        head.last_offset,
                        rows.packed(head.create_command_id),
                        rows.packed(HASH),
                        head.version,
                        3,
                        1,
                    )
                    for key, head in changes
                ],
            )
            file.db.execute("UPDATE positions SET next_offset = next_offset + 1 WHERE partition = 0")

    def size_bytes(self) -> int:
        return self._store.size_bytes()

    def close(self) -> None:
        self._store.close()


class Lmdb:
    """The same in LMDB: packed heads by key, commands by slot, slots by command, positions."""

    _head = Struct(">B16sQBHH16s32sQQQ")
    _command = Struct(">Q16s32sQBH")

    def __init__(self, folder: Path) -> None:
        import lmdb

        # As SQLite is run: nothing is synced, and what a power cut has torn is thrown away.
        self._env = lmdb.open(
            str(folder / "heads.lmdb"), map_size=2**35, max_dbs=4, sync=False, metasync=False, writemap=False
        )
        self._dbs = [self._env.open_db(name) for name in (b"heads", b"commands", b"by-command", b"positions")]

    def _pack(self, key: str, head: Head) -> bytes:
        event, command = rows.packed(head.last_event_id), rows.packed(head.create_command_id)
        offsets = head.origin_offset, head.request_offset, head.last_offset
        status = rows.STATUS_NUMBER[head.status]
        number = partition_of(key, PARTITIONS)
        packed_hash = rows.packed(head.create_hash)
        return (
            self._head.pack(
                number, event, head.version, status, head.run, head.attempt, command, packed_hash, *offsets
            )
            + head.tenant.encode()
        )

    def _unpack(self, value: bytes) -> Head:
        found = self._head.unpack_from(value)
        return rows.head_of((value[self._head.size :].decode(), found[2], found[1], found[3], *found[4:]))

    def fill(self, found: Iterator[Row]) -> None:
        while chunk := list(islice(found, 20_000)):
            with self._env.begin(write=True) as txn:
                for key, number, tenant, version, event, status, run, attempt, *others in chunk:
                    value = self._head.pack(number, event, version, status, run, attempt, *others)
                    txn.put(key, value + tenant.encode(), db=self._dbs[0])

    def get(self, key: str) -> Any:
        with self._env.begin(db=self._dbs[0]) as txn:
            value = txn.get(rows.packed(key))
        return self._unpack(value) if value else None

    def update(self, changes: list[tuple[str, Head]]) -> None:
        heads, commands, by_command, positions = self._dbs
        with self._env.begin(write=True) as txn:
            for key, head in changes:
                self._unpack(txn.get(rows.packed(key), db=heads))
                txn.put(rows.packed(key), self._pack(key, head), db=heads)
                slot = partition_of(key, PARTITIONS) * REMEMBERED_OFFSETS + head.last_offset % REMEMBERED_OFFSETS
                name, id_ = slot.to_bytes(8, "big"), rows.packed(head.create_command_id)
                old = txn.get(name, db=commands)
                if old:
                    txn.delete(old[8:24], db=by_command)
                txn.put(name, self._command.pack(head.last_offset, id_, bytes.fromhex(HASH), 3, 3, 1), db=commands)
                txn.put(id_, name, db=by_command)
            txn.put(b"0", b"1", db=positions)

    def size_bytes(self) -> int:
        pages = self._env.info()["last_pgno"] + 1
        return int(pages * self._env.stat()["psize"])

    def close(self) -> None:
        self._env.close()


KINDS: dict[str, Callable[[Path], Any]] = {"sqlite": Sqlite, "lmdb": Lmdb}


def memory() -> dict[str, float]:
    """Megabytes of this process: resident, and its own."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {n: round(int(fields[k].split()[0]) / 1024, 1) for n, k in (("rss", "VmRSS"), ("anon", "RssAnon"))}


def keys_of(folder: Path) -> list[str]:
    raw = (folder / "keys").read_bytes()
    return [rows.unpacked(raw[i : i + 16]) for i in range(0, len(raw), 16)]


def best_us(rounds: int, count: int, work: Callable[[], None]) -> float:
    taken = []
    for _ in range(rounds):
        begun = process_time()
        work()
        taken.append((process_time() - begun) / count * 1e6)
    return round(min(taken), 1)


def make(kind: str, folder: Path, size: int) -> dict[str, Any]:
    """Fills a file; of its keys at most 200,000, drawn at random, are written beside it."""
    chance, kept = random.Random(1), bytearray()
    share = min(1.0, 200_000 / size)

    def found() -> Iterator[Row]:
        for number in range(size):
            drawn = os.urandom(74)
            key = (2**40 + number).to_bytes(6, "big") + drawn[64:]  # as UUIDv7: in order of time, then random
            if chance.random() < share:
                kept.extend(key)
            partition = partition_of(rows.unpacked(key), PARTITIONS)
            ids = drawn[:16], drawn[16:32], drawn[32:64]
            yield (
                key,
                partition,
                "default",
                3,
                ids[0],
                3,
                1,
                1,
                ids[1],
                ids[2],
                3 * number,
                3 * number,
                3 * number + 2,
            )

    store, begun = KINDS[kind](folder), perf_counter()
    store.fill(found())
    (folder / "keys").write_bytes(kept)
    store.close()
    return {"filled_s": round(perf_counter() - begun, 1)}


def measure(kind: str, folder: Path, _: int) -> dict[str, Any]:
    """Lookups, then updates, in a fresh process."""
    keys, chance = keys_of(folder), random.Random(2)
    unknown = [new_id() for _ in range(20_000)]
    before, begun = memory(), process_time()
    store = KINDS[kind](folder)
    result: dict[str, Any] = {"open_cpu_s": round(process_time() - begun, 3)}
    for _ in range(LOOKUPS):
        store.get(chance.choice(keys))
    after = memory()
    result |= {name: round(after[name] - before[name], 1) for name in after}
    drawn = [chance.choice(keys) for _ in range(20_000)]
    result["known_us"] = best_us(3, 20_000, lambda: [store.get(key) for key in drawn] and None)
    result["unknown_us"] = best_us(3, 20_000, lambda: [store.get(key) for key in unknown] and None)
    offset = 10**9

    def changes(count: int) -> list[tuple[str, Head]]:
        nonlocal offset
        offset += count
        return [(chance.choice(keys), head_at(offset - n)) for n in range(count)]

    singly, batches = [changes(1) for _ in range(2_000)], [changes(1_000) for _ in range(20)]
    result["update_1_us"] = best_us(3, 2_000, lambda: [store.update(change) for change in singly] and None)
    result["update_1000_us"] = best_us(3, 20_000, lambda: [store.update(change) for change in batches] and None)
    result["size_mb"] = round(store.size_bytes() / 1e6, 1)
    store.close()
    return result


def idle(_: str, folder: Path, __: int) -> dict[str, Any]:
    """What a process takes that imports the same and knows no job."""
    before = memory()
    store = Sqlite(folder)
    for _ in range(LOOKUPS):
        store.get(new_id())
    after = memory()
    store.close()
    return {name: round(after[name] - before[name], 1) for name in after}


def copy(_: str, folder: Path, size: int) -> dict[str, Any]:
    """A copy into a blob store in a folder, and a start from it."""
    copies = HeadCopies(BlobStore(LocalStore(folder / "blobs", mkdir=True)), 3600)
    log: Any = EndlessLog()
    path = folder / "heads.sqlite"
    store = HeadStore(path, log)
    begun = process_time()
    name = HeadsCopier(store, path, copies, 1).turn()
    made_s = process_time() - begun
    store.close()
    begun = process_time()
    other = HeadStore(folder / "elsewhere" / "heads.sqlite", log, copies=copies)
    started_s = process_time() - begun
    assert other.count() == store.count() > size - PARTITIONS
    other.close()
    packed = next((folder / "blobs").rglob(str(name).rpartition("/")[2])).stat().st_size
    return {
        "copy_cpu_s": round(made_s, 2),
        "start_from_copy_cpu_s": round(started_s, 2),
        "ratio": round(packed / path.stat().st_size, 2),
    }


_TYPES = (("created", 0), ("execution-started", 1), ("execution-succeeded", 1))


def events(jobs: int, side_by_side: int) -> Iterator[Record]:
    """Three events a job, many jobs at the same time."""
    offsets = [0] * PARTITIONS
    open_jobs: list[tuple[str, int, str]] = []
    while jobs or open_jobs:
        while jobs and len(open_jobs) < side_by_side:
            open_jobs.append((new_id(), 0, ""))
            jobs -= 1
        coming = []
        for key, done, previous in open_jobs:
            kind, attempt = _TYPES[done]
            event_id, partition = new_id(), partition_of(key, PARTITIONS)
            headers = [
                ("content-type", b"application/cloudevents+json"),
                ("id", event_id.encode()),
                ("type", f"darkroom.job.{kind}.v1".encode()),
                ("streamversion", b"%d" % (done + 1)),
                ("previd", previous.encode()),
                ("commandid", new_id().encode()),
                ("requesthash", HASH.encode()),
                ("tenant", b"default"),
                ("run", b"1"),
                ("attempt", b"%d" % attempt),
            ]
            yield Record(partition, offsets[partition], key.encode(), b"", headers, 0)
            offsets[partition] += 1
            if done < 2:
                coming.append((key, done + 1, event_id))
        open_jobs = coming


def fold(_: str, folder: Path, size: int) -> dict[str, Any]:
    """From the log alone: whole folds, in batches of the tail's size."""
    log: Any = EndlessLog()
    store = HeadStore(folder / "heads.sqlite", log)
    cpu_s = wall_s = 0.0
    batch: list[Record] = []
    count = 0

    def apply() -> None:
        nonlocal cpu_s, wall_s, count
        cpu, wall = process_time(), perf_counter()
        assert all(verdict.accepted for verdict in store.apply(batch))
        cpu_s, wall_s = cpu_s + process_time() - cpu, wall_s + perf_counter() - wall
        count += len(batch)
        batch.clear()

    for record in events(size, 1_000):
        batch.append(record)
        if len(batch) == 2_000:
            apply()
    apply()
    singles_us = []
    for record in events(700, 20):
        shifted = Record(record.partition, record.offset + 10**9, record.key, b"", record.headers, 0)
        cpu = process_time()
        store.apply([shifted])
        singles_us.append((process_time() - cpu) * 1e6)
    singles_us.sort()
    size_bytes = store.size_bytes()
    store.close()
    return {
        "events_per_cpu_s": round(count / cpu_s),
        "events_per_s": round(count / wall_s),
        "one_us_p50": round(singles_us[len(singles_us) // 2]),
        "one_us_mean": round(sum(singles_us) / len(singles_us)),
        "bytes_per_job": round(size_bytes / size),
    }


STEPS = {step.__name__: step for step in (make, measure, idle, copy, fold)}


def run(step: str, kind: str, folder: Path, size: int) -> dict[str, Any]:
    """A step in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [
        sys.executable,
        __file__,
        "--step",
        step,
        "--kind",
        kind,
        "--folder",
        str(folder),
        "--sizes",
        str(size),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=3600)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="heads, by comma")
    parser.add_argument("--lmdb", help="folder that holds the lmdb package")
    for internal in ("--step", "--kind", "--folder"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    said = parser.parse_args()
    sizes = [int(size) for size in said.sizes.split(",")]
    if said.step:
        print(json.dumps(STEPS[said.step](said.kind, Path(said.folder), sizes[0])))
        return
    if said.lmdb:
        os.environ["PYTHONPATH"] = os.pathsep.join([said.lmdb, os.environ.get("PYTHONPATH", "")])
    with TemporaryDirectory(prefix="darkroom-heads-") as temporary:
        root = Path(temporary)
        print("no job:", json.dumps(run("idle", "sqlite", root / "idle", 0)), flush=True)
        for size in sizes:
            for kind in ("sqlite", "lmdb") if said.lmdb else ("sqlite",):
                folder = root / f"{kind}-{size}"
                found = run("make", kind, folder, size) | run("measure", kind, folder, size)
                print(f"{size} {kind}:", json.dumps(found), flush=True)
            print(f"{size} copy:", json.dumps(run("copy", "sqlite", root / f"sqlite-{size}", size)), flush=True)
            if size <= 100_000:
                print(f"{size} fold:", json.dumps(run("fold", "sqlite", root / f"fold-{size}", size)), flush=True)


if __name__ == "__main__":
    main()
