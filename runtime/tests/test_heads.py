"""The heads file: folding, restarts, files that cannot be used, the window of commands, and a kill -9."""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import binary, characters, one_of, uuids
from hypothesis.strategies import text as text_of
from obstore.store import MemoryStore

from darkroom.runtime import headsfold, headsopen, headsrows, testing_writer
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import Folded, HeadsFileLost, HeadStore
from darkroom.runtime.headscopy import HeadCopies, HeadsCopier
from darkroom.runtime.testing_writer import append_chain, append_event
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import LogUnavailable, StoreUnavailable
from darkroom.schemas.job import Status
from darkroom.schemas.testing import CREATED, QUEUED, STARTED, SUCCEEDED

JOBS = [f"job-{n}" for n in range(6)]


def records(log: MemoryLog, start: dict[int, int] | None = None) -> list[Record]:
    reader = log.follow(start or dict.fromkeys(range(log.partitions), 0))
    return list(reader.poll(0, 1_000_000))


def fill(log: MemoryLog) -> None:
    for name in JOBS:
        append_chain(log, name, QUEUED, STARTED, SUCCEEDED)


def known(store: HeadStore) -> dict[str, job.Head | None]:
    return {name: store.get(name) for name in JOBS}


def test_folding_gives_heads_verdicts_and_news() -> None:
    log, news = MemoryLog(2), list[Folded]()
    store = HeadStore(":memory:", log, news.extend)
    ids = append_chain(log, "job-1", QUEUED, STARTED)
    void = append_event(log, "job-1", job.Cancelled(1), 2, ids[0])
    verdicts = store.apply(records(log))

    partition = partition_of("job-1", 2)
    assert [(v.partition, v.offset, v.event_id, v.accepted) for v in verdicts] == [
        (partition, 0, ids[0], True),
        (partition, 1, ids[1], True),
        (partition, 2, void, False),
    ]
    assert verdicts[1].outcome.status is Status.RUNNING
    assert verdicts[2].outcome is None
    head = store.get("job-1")
    assert head is not None
    assert (head.status, head.version, head.run, head.attempt) == (Status.RUNNING, 2, 1, 1)
    assert [(f.guard.event_id, f.head.status) for f in news] == [(ids[0], Status.QUEUED), (ids[1], Status.RUNNING)]
    assert store.positions() == {partition: 3, 1 - partition: 0}
    assert store.get("job-2") is None


def test_active_jobs_in_the_order_of_their_requests() -> None:
    log = MemoryLog(1)
    store = HeadStore(":memory:", log)
    append_chain(log, "created", CREATED)
    append_chain(log, "running", QUEUED, STARTED)
    append_chain(log, "done", QUEUED, STARTED, SUCCEEDED)
    append_chain(log, "queued", QUEUED)
    store.apply(records(log))
    assert store.running(0, 10) == [("running", store.get("running"))]
    assert store.queued(0, 10) == [("queued", store.get("queued"))]
    assert store.queued(0, 0) == []


def test_what_is_no_event_changes_nothing_and_is_passed() -> None:
    log = MemoryLog(2)
    store = HeadStore(":memory:", log)
    (first,) = append_chain(log, "job-1", QUEUED)
    own = partition_of("job-1", 2)
    good = records(log)[0]
    foreign = 1 - own
    log.append(foreign, good.key or b"", good.value or b"", good.headers)
    log.append(own, b"", b"garbage", [])
    log.append(own, b"job-1", b"garbage", [("type", b"\xff")])
    huge = [(n, b"9" * 40 if n in ("run", "attempt") else v) for n, v in good.headers]
    huge = [(n, {"streamversion": b"2", "previd": first.encode(), "id": b"e2"}.get(n, v)) for n, v in huge]
    log.append(own, b"job-1", good.value or b"", huge)
    verdicts = store.apply(records(log))
    assert [v.event_id for v in verdicts] == [first]
    assert store.positions() == {own: 4, foreign: 1}
    head = store.get("job-1")
    assert head is not None
    assert (head.version, head.run) == (1, 1)


def test_an_event_with_a_body_that_cannot_be_read_moves_the_chain_all_the_same() -> None:
    log = MemoryLog(1)
    store = HeadStore(":memory:", log)
    append_chain(log, "job-1", QUEUED, STARTED)
    damaged = [Record(r.partition, r.offset, r.key, b"\xff", r.headers, 0) for r in records(log)]
    assert [v.accepted for v in store.apply(damaged)] == [True, True]


def test_a_restart_goes_on_where_the_file_stands(tmp_path: Path) -> None:
    log, path = MemoryLog(2), tmp_path / "deep" / "heads.sqlite"
    fill(log)
    first = HeadStore(path, log)
    first.apply(records(log))
    before, positions = known(first), first.positions()
    first.close()

    append_chain(log, "later", QUEUED)
    second = HeadStore(path, log)
    assert second.positions() == positions
    assert known(second) == before
    fresh = records(log, dict(positions))
    assert len(fresh) == 1
    second.apply(fresh)
    assert second.get("later") is not None
    second.close()


def other_topic(_path: Path, _: pytest.MonkeyPatch) -> MemoryLog:
    return MemoryLog(2, topic_id="another")


def other_partitions(_path: Path, _: pytest.MonkeyPatch) -> MemoryLog:
    return MemoryLog(3)


def ahead_of_the_log(_path: Path, _: pytest.MonkeyPatch) -> MemoryLog:
    return MemoryLog(2)


def other_fold(_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryLog | None:
    monkeypatch.setattr(headsopen, "FOLD_VERSION", headsopen.FOLD_VERSION + 1)
    return None


def no_database(path: Path, _: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"not a database at all, but longer than a header of SQLite would be" * 20)


def empty_file(path: Path, _: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"")


def damaged_pages(path: Path, _: pytest.MonkeyPatch) -> None:
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)


def without_positions(path: Path, _: pytest.MonkeyPatch) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute("DELETE FROM positions WHERE partition = 0")
    db.close()


@pytest.mark.parametrize(
    "spoil",
    [
        other_topic,
        other_partitions,
        ahead_of_the_log,
        other_fold,
        no_database,
        empty_file,
        damaged_pages,
        without_positions,
    ],
)
def test_a_file_that_cannot_be_used_is_filled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path, pytest.MonkeyPatch], MemoryLog | None]
) -> None:
    log, path = MemoryLog(2), tmp_path / "heads.sqlite"
    fill(log)
    first = HeadStore(path, log)
    first.apply(records(log))
    before = known(first)
    first.close()

    other = spoil(path, monkeypatch)
    log = other or log
    second = HeadStore(path, log)
    assert second.positions() == dict.fromkeys(range(log.partitions), 0)
    assert known(second) == dict.fromkeys(JOBS)
    second.apply(records(log))
    assert known(second) == (dict.fromkeys(JOBS) if other else before)
    second.close()


def test_a_file_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    log, path = MemoryLog(1), tmp_path / "heads.sqlite"
    first = HeadStore(path, log)
    with pytest.raises(StoreUnavailable, match="in use"):
        HeadStore(path, log)
    first.close()
    HeadStore(path, log).close()


def test_a_file_is_kept_and_let_go_while_the_log_cannot_be_asked(tmp_path: Path) -> None:
    log, path = MemoryLog(1), tmp_path / "heads.sqlite"
    append_chain(log, "job-1", QUEUED)
    first = HeadStore(path, log)
    first.apply(records(log))
    first.close()
    log.available = False
    with pytest.raises(LogUnavailable):
        HeadStore(path, log)
    log.available = True
    second = HeadStore(path, log)
    assert second.get("job-1") is not None
    second.close()


def test_commands_are_remembered_for_a_window_of_offsets_and_creates_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(headsfold, "REMEMBERED_OFFSETS", 3)
    log = MemoryLog(1)
    store = HeadStore(":memory:", log)
    (created,) = append_chain(log, "job-1", QUEUED)
    append_event(log, "job-1", job.Cancelled(1), 2, created, command_id="cancel")
    for others, remembered in ((0, True), (2, True), (1, False)):
        for _ in range(others):
            append_chain(log, f"other-{log.end_offset(0, 1)}", QUEUED)
        store.apply(records(log, dict(store.positions())))
        assert (store.seen("job-1", "cancel") is not None) is remembered, f"at {store.positions()}"
    head = store.get("job-1")
    assert head is not None
    assert head.create_hash == "hash"


def test_of_two_events_under_one_command_id_the_first_is_its_outcome() -> None:
    log = MemoryLog(1)
    store = HeadStore(":memory:", log)
    (created,) = append_chain(log, "job-1", QUEUED)
    cancelled = append_event(log, "job-1", job.Cancelled(1), 2, created, command_id="same")
    append_event(log, "job-1", job.Deleted(1), 3, cancelled, command_id="same")
    store.apply(records(log))
    seen = store.seen("job-1", "same")
    assert seen is not None
    assert (seen.offset, seen.status) == (1, Status.CANCELLED)


@pytest.mark.parametrize("together", [1, 2, 3, 7, 1000])
def test_the_window_depends_on_the_log_alone_not_on_how_it_arrived(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """A command is known exactly while its offset is among the last three before the next one."""
    monkeypatch.setattr(headsfold, "REMEMBERED_OFFSETS", 3)
    log = MemoryLog(1)
    store = HeadStore(":memory:", log)
    ids = [f"command-{number}" for number in range(10)]
    for number, command_id in enumerate(ids):
        append_event(log, f"job-{number}", QUEUED, 1, "", command_id=command_id)
    for start in range(0, len(ids), together):
        store.apply(records(log, dict(store.positions()))[:together])
        following = store.positions()[0]
        known = [o for o, command_id in enumerate(ids) if store.seen(f"job-{o}", command_id)]
        assert known == list(range(max(0, following - 3), following)), f"after {start + together}"


def test_the_window_moves_with_events_that_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Void ones and foreign ones take no place among the remembered commands, but they do take an offset."""
    monkeypatch.setattr(headsfold, "REMEMBERED_OFFSETS", 3)
    log = MemoryLog(1)
    store = HeadStore(":memory:", log)
    append_event(log, "job-1", QUEUED, 1, "", command_id="create")
    known = []
    for number in range(4):
        store.apply(records(log, dict(store.positions())))
        known.append(store.seen("job-1", "create") is not None)
        if number % 2:
            log.append(0, b"job-1", b"garbage", [])
        else:
            append_event(log, "job-1", job.Cancelled(1), 2, "not-the-last-event")
    assert known == [True, True, True, False]


def test_an_id_that_is_known_twice_within_the_window_is_found_again_after_the_first_has_left_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(headsfold, "REMEMBERED_OFFSETS", 2)
    log = MemoryLog(1)
    store = HeadStore(":memory:", log)
    found = []
    for number in range(4):
        append_event(log, f"job-{number}", QUEUED, 1, "", command_id="same" if number < 2 else "other")
        store.apply(records(log, dict(store.positions())))
        seen = store.seen("job-0", "same")
        found.append(seen.offset if seen else None)
    assert found == [0, 0, 1, None]


FORMS = [
    "0190a0b0-c0d0-7e0f-8a1b-2c3d4e5f6071",
    "0190A0B0-C0D0-7E0F-8A1B-2C3D4E5F6071",
    "0190a0b0c0d07e0f8a1b2c3d4e5f6071",
    "{0190a0b0-c0d0-7e0f-8a1b-2c3d4e5f607}",
    "0190a0b0-c0d0-7e0f-8a1b-2c3d4e5f607g",
    "0190a0b0-c0d07-e0f-8a1b-2c3d4e5f6071",
    "ab" * 32,
    "AB" * 32,
    "a " * 32,
    "x" * 64,
    "１" * 36,
    "nul\0within",
    "ü",
    "",
    "a" * 500,
]


@pytest.mark.parametrize("text", FORMS)
def test_texts_of_every_form_come_back_as_they_were(text: str) -> None:
    assert headsrows.unpacked(headsrows.packed(text)) == text


@given(one_of(text_of(alphabet=characters(codec="utf-8")), uuids().map(str), binary(max_size=40).map(bytes.hex)))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    packed = headsrows.packed(text)
    assert headsrows.unpacked(packed) == text
    assert isinstance(packed, str) or len(packed) in (16, 32)


def test_keys_and_ids_of_every_form_are_found_again(tmp_path: Path) -> None:
    log = MemoryLog(3)
    store = HeadStore(tmp_path / "heads.sqlite", log)
    for number, name in enumerate(filter(None, FORMS)):
        append_event(log, name, QUEUED, 1, "", command_id=name)
        store.apply(records(log, dict(store.positions())))
        head, seen = store.get(name), store.seen(name, name)
        assert head is not None
        assert seen is not None
        assert head.create_command_id == seen.command_id == name
        assert store.count() == number + 1
    assert {name for p in range(3) for name, _ in store.queued(p, 100)} == set(filter(None, FORMS))
    store.close()


def test_a_job_that_has_ended_is_known_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the window of commands, after a restart, and from a copy."""
    monkeypatch.setattr(headsfold, "REMEMBERED_OFFSETS", 5)
    log, path, blobs = MemoryLog(2), tmp_path / "heads.sqlite", BlobStore(MemoryStore())
    append_chain(log, "done", QUEUED, STARTED, SUCCEEDED)
    ids = append_chain(log, "gone", QUEUED, job.Cancelled(1))
    append_event(log, "gone", job.Deleted(1), 3, ids[1])
    for number in range(30):
        append_chain(log, f"other-{number}", QUEUED)
    store = HeadStore(path, log)
    store.apply(records(log))
    told = {name: store.get(name) for name in ("done", "gone")}
    assert [head.status for head in told.values() if head] == [Status.SUCCEEDED, Status.DELETED]
    copies = HeadCopies(blobs)
    HeadsCopier(store, path, copies, 1).turn()
    store.close()
    for restarted in (HeadStore(path, log), HeadStore(tmp_path / "elsewhere" / "heads.sqlite", log, copies=copies)):
        assert sum(restarted.positions().values()) == log.end_offset(0, 1) + log.end_offset(1, 1)
        assert {name: restarted.get(name) for name in told} == told
        restarted.close()


def test_count_and_size_are_kept_over_a_restart(tmp_path: Path) -> None:
    log, path = MemoryLog(2), tmp_path / "heads.sqlite"
    store = HeadStore(path, log)
    assert store.count() == 0
    fill(log)
    store.apply(records(log))
    assert store.count() == len(JOBS)
    assert store.size_bytes() == sum(os.stat(f"{path}{suffix}").st_size for suffix in ("", "-wal"))
    store.close()
    store = HeadStore(path, log)
    assert store.count() == len(JOBS)
    store.close()
    assert HeadStore(":memory:", log).size_bytes() > 0


def test_after_its_close_a_store_tells_nothing_and_is_not_failed(tmp_path: Path) -> None:
    log = MemoryLog(1)
    store = HeadStore(tmp_path / "heads.sqlite", log)
    store.close()
    store.close()
    with pytest.raises(HeadsFileLost, match="closed"):
        store.get("job-1")
    assert store.failure() is None


LEFT_OPEN = """
import itertools, sys
from pathlib import Path
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.heads import HeadStore
from darkroom.runtime import testing_writer
from darkroom.runtime.testing_writer import append_chain
from darkroom.schemas.testing import QUEUED
numbers = itertools.count()
testing_writer.new_id = lambda: f"id-{next(numbers)}"
log = MemoryLog(1)
store = HeadStore(Path(sys.argv[1]), log)
append_chain(log, "job-1", QUEUED)
store.apply(log.follow({0: 0}).poll(0, 10))
raise SystemExit("a bug elsewhere")
"""


@pytest.fixture
def same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is made again here, and must be the one that the other process had."""
    numbers = itertools.count()
    monkeypatch.setattr(testing_writer, "new_id", lambda: f"id-{next(numbers)}")


@pytest.mark.usefixtures("same_ids")
def test_a_process_that_ends_without_closing_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "heads.sqlite"
    ended = subprocess.run([sys.executable, "-c", LEFT_OPEN, str(path)], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, b"a bug elsewhere\n")
    log = MemoryLog(1)
    append_chain(log, "job-1", QUEUED)
    store = HeadStore(path, log)
    assert store.positions() == {0: 1}
    store.close()


FOLD_FOREVER = """
import itertools, sys
from pathlib import Path
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime import headsfile
from darkroom.runtime.heads import HeadStore
from darkroom.runtime import testing_writer
from darkroom.runtime.testing_writer import append_chain
from darkroom.schemas.testing import QUEUED, STARTED, SUCCEEDED
numbers = itertools.count()
testing_writer.new_id = lambda: f"id-{next(numbers)}"
headsfile.WAL_SIZE_BYTES_DUE = 200_000  # a checkpoint every few jobs
log = MemoryLog(1)
store = HeadStore(Path(sys.argv[1]), log)
number = 0
while True:
    name = f"job-{number}"
    append_chain(log, name, QUEUED, STARTED, SUCCEEDED)
    reader = log.follow(store.positions())
    for record in reader.poll(0, 10):
        store.apply([record])
    print(number, flush=True)
    number += 1
"""


@pytest.mark.usefixtures("same_ids")
def test_after_a_kill_9_heads_and_positions_are_those_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "heads.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", FOLD_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                break
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    log = MemoryLog(1)
    for number in range(1000):
        append_chain(log, f"job-{number}", QUEUED, STARTED, SUCCEEDED)
    store = HeadStore(path, log)
    position = store.positions()[0]
    assert position >= 60, "the file was thrown away"
    done, begun = divmod(position, 3)
    for number in range(done):
        head = store.get(f"job-{number}")
        assert head is not None
        assert (head.status, head.last_offset) == (Status.SUCCEEDED, 3 * number + 2)
    head = store.get(f"job-{done}")
    assert (head.version if head else 0) == begun
    assert store.get(f"job-{done + 1}") is None
    store.close()
