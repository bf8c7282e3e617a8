"""The heads file: folding, restarts, files that cannot be used, the window of commands, and a kill -9."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.runtime import headsfold, headsopen
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import Folded, HeadStore
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


FOLD_FOREVER = """
import sys
from pathlib import Path
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.testing_writer import append_chain
from darkroom.schemas.testing import QUEUED, STARTED, SUCCEEDED
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
    assert position >= 60
    done, begun = divmod(position, 3)
    for number in range(done):
        head = store.get(f"job-{number}")
        assert head is not None
        assert (head.status, head.last_offset) == (Status.SUCCEEDED, 3 * number + 2)
    head = store.get(f"job-{done}")
    assert (head.version if head else 0) == begun
    assert store.get(f"job-{done + 1}") is None
    store.close()
