"""Archives of logs in memory: they come back as they were, whatever stands in them and whenever an export dies."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.folder import alone
from darkroom.runtime.archive.manifest import read_manifest
from darkroom.runtime.archive.part import parts_of
from darkroom.runtime.archive.record import line_of, record_of
from darkroom.runtime.archive.testing import BOUNDS, exported, filled, nobody, records_of, restored
from darkroom.runtime.archive.verifying import compare, verify
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.errors import LogUnavailable

RECORDS = st.builds(
    Record,
    partition=st.just(3),
    offset=st.integers(0, 2**60),
    key=st.none() | st.binary(max_size=40),
    value=st.none() | st.binary() | st.text().map(str.encode) | st.integers(1, 200_000).map(lambda n: b"\xff" * n),
    headers=st.lists(st.tuples(st.text(), st.binary())),
    timestamp_ms=st.integers(-1, 2**50),
)


@given(RECORDS)
@settings(max_examples=150)
def test_any_record_comes_back_from_its_line(record: Record) -> None:
    line = line_of(record)
    assert line.count(b"\n") == 1
    assert record_of(line, 3) == record


@pytest.mark.parametrize("line", [b"", b"[]", b'"x"', b'{"offset": 1}', b"{", b'{"offset":"x"}'])
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(ArchiveError):
        record_of(line, 0)


def test_what_is_restored_is_what_was_exported(tmp_path: Path) -> None:
    logs = {"jobs": filled(1, 900), "models": filled(2, 50, 1)}
    done = exported(tmp_path, logs)
    assert (done.written, done.manifest.events, done.manifest.lacking) == (950, 950, 0)
    assert len(done.manifest.topics["jobs"].partitions[0].segments) > 5
    new = {"jobs": MemoryLog(3), "models": MemoryLog(1)}
    assert restored(tmp_path, new).written == 950
    for name, log in logs.items():
        assert records_of(new[name]) == records_of(log)
    compare(tmp_path, verify(tmp_path, nobody), new, nobody)


def test_an_empty_log_has_an_archive_too(tmp_path: Path) -> None:
    manifest = exported(tmp_path, {"jobs": MemoryLog(2)}).manifest
    assert manifest.events == 0
    assert manifest.blobs is not None
    assert restored(tmp_path, {"jobs": MemoryLog(2, "new")}).written == 0


def test_a_later_export_writes_what_is_new_and_leaves_whole_segments_alone(tmp_path: Path) -> None:
    log = filled(3, 500)
    first = exported(tmp_path, {"jobs": log}).manifest
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")}
    assert exported(tmp_path, {"jobs": log}).written == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")} == before
    for seed in range(4, 12):
        filled(seed, 10, log=log)
        assert exported(tmp_path, {"jobs": log}).written == 10
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")}
    assert len(before.keys() - after.keys()) <= 3  # the last one of each partition, if it was small
    assert all(after[path] == time for path, time in before.items() if path in after)
    manifest = verify(tmp_path, nobody)
    assert manifest.exported_at > first.exported_at
    smalls = [s for part in parts_of(tmp_path, manifest) for s in part.archived.segments if s.small(BOUNDS)]
    assert len(smalls) <= 3
    restored(tmp_path, {"jobs": (new := MemoryLog(3))})
    assert records_of(new) == records_of(log)


def test_an_archive_holds_what_it_lists_and_nothing_else(tmp_path: Path) -> None:
    exported(tmp_path, {"jobs": (log := filled(5, 300))})
    (tmp_path / "jobs/p0/unfinished.tmp").write_bytes(b"half")
    (tmp_path / "jobs/p0/00000000000000000900-00000000000000000901.jsonl.gz").write_bytes(b"never listed")
    filled(6, 30, log=log)
    manifest = exported(tmp_path, {"jobs": log}).manifest
    listed = {part.place / s.file for part in parts_of(tmp_path, manifest) for s in part.archived.segments}
    assert listed == {path for path in tmp_path.rglob("p*/*") if path.is_file()}


def _flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def test_every_changed_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    """Before anything is written: the log that it would be restored into is not even asked."""
    exported(tmp_path, {"jobs": filled(7, 2, 1)})
    away = MemoryLog(1)
    away.available = False
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) == 3
    for path in files:
        content = path.read_bytes()
        broken = [_flip(content, n) for n in range(len(content))] + [content[:n] for n in range(len(content))]
        for damaged in (*broken, content + b"\n"):
            path.write_bytes(damaged)
            with pytest.raises(ArchiveError):
                restored(tmp_path, {"jobs": away})
        path.unlink()
        with pytest.raises(ArchiveError):
            restored(tmp_path, {"jobs": away})
        path.write_bytes(content)
    with pytest.raises(LogUnavailable):
        restored(tmp_path, {"jobs": away})


EVENTS = 1_500


def _kill_export(folder: Path, after: Callable[[subprocess.Popen[str]], None], **environment: str) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", "darkroom.runtime.archive.testing", str(folder), "8", str(EVENTS)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        after(process)
        return process.wait(60)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "failpoint",
    [
        "archive-manifest:1",
        "archive-manifest-kept:1",
        "archive-segment-written:30",
        "archive-segment-kept:30",
    ],
)
def test_an_export_that_was_killed_at_a_step_is_resumed(tmp_path: Path, failpoint: str) -> None:
    killed = _kill_export(tmp_path, lambda _: None, DARKROOM_FAILPOINT=failpoint)
    assert killed == -signal.SIGKILL
    log = filled(8, EVENTS)
    if (tmp_path / "manifest.json").exists():
        manifest = read_manifest(tmp_path)
        assert manifest.lacking > 0
    exported(tmp_path, {"jobs": log})
    restored(tmp_path, {"jobs": (new := MemoryLog(3))})
    assert records_of(new) == records_of(log)


def test_an_export_that_is_killed_at_any_moment_is_resumed(tmp_path: Path) -> None:
    """Again and again, into one folder: whatever each of them left, the next one goes on."""
    random = Random(9)
    codes = []
    for _ in range(4):
        files = len(list(tmp_path.rglob("*.gz")))
        more = random.randrange(1, 12)

        def until_more(process: subprocess.Popen[str], wanted: int = files + more) -> None:
            pause = threading.Event()
            while process.poll() is None and len(list(tmp_path.rglob("*.gz"))) < wanted:
                pause.wait(0.001)
            process.kill()

        codes.append(_kill_export(tmp_path, until_more))
    assert codes.count(-signal.SIGKILL) >= 2
    log = filled(8, EVENTS)
    exported(tmp_path, {"jobs": log})
    restored(tmp_path, {"jobs": (new := MemoryLog(3))})
    assert records_of(new) == records_of(log)


class Dying(MemoryLog):
    """Takes so many records, and then no more."""

    left = 0

    def append(self, *arguments, **more):  # type: ignore[no-untyped-def]
        if self.left == 0:
            raise LogUnavailable("the broker went away")
        self.left -= 1
        return super().append(*arguments, **more)


def test_a_restore_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    exported(tmp_path, {"jobs": (log := filled(10, 300))})
    new = Dying(3)
    found = []
    for left in (0, 1, 70, 150, 100):
        new.left = left
        try:
            found.append(restored(tmp_path, {"jobs": new}).found)
        except LogUnavailable:
            continue
    assert found == [221]
    assert records_of(new) == records_of(log)
    assert restored(tmp_path, {"jobs": new}).written == 0


def test_somebody_who_writes_meanwhile_is_noticed(tmp_path: Path) -> None:
    exported(tmp_path, {"jobs": filled(10, 300)})

    class Disturbed(MemoryLog):
        def append(self, partition, *arguments, **more):  # type: ignore[no-untyped-def]
            if self.end_offset(2, 1) == 5:
                super().append(2, b"a service", b"that still runs", [])
            return super().append(partition, *arguments, **more)

    with pytest.raises(ArchiveError, match=r"somebody else writes into partition 2 of jobs .*landed at 6"):
        restored(tmp_path, {"jobs": Disturbed(3)})


def test_a_log_that_sets_times_of_its_own_is_noticed(tmp_path: Path) -> None:
    exported(tmp_path, {"jobs": filled(10, 30)})

    class Clock(MemoryLog):
        def append(self, partition, key, value, headers, timestamp_ms=None):  # type: ignore[no-untyped-def]
            return super().append(partition, key, value, headers, 7)

    with pytest.raises(ArchiveError, match="has another time in the log than archived"):
        restored(tmp_path, {"jobs": Clock(3)})


def test_two_exports_at_once_are_refused(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(ArchiveError, match="another export is writing"):
        exported(tmp_path, {"jobs": MemoryLog(1)})
    exported(tmp_path, {"jobs": MemoryLog(1)})


def test_models_are_asked_for_their_end_after_the_jobs_that_name_them(tmp_path: Path) -> None:
    asked = []

    class Asked(MemoryLog):
        def end_offset(self, partition: int, timeout_s: float) -> int:
            asked.append(self.topic_id)
            return super().end_offset(partition, timeout_s)

    exported(tmp_path, {"jobs": Asked(2, "jobs"), "models": Asked(1, "models")})
    assert asked == ["jobs", "jobs", "models"]


def _another(tmp_path: Path) -> MemoryLog:
    exported(tmp_path, {"jobs": filled(11, 60)})
    return filled(11, 60)


def _rewritten(tmp_path: Path) -> MemoryLog:
    log = _another(tmp_path)
    end = log.end_offset(1, 1)
    log.cut(1, end - 1)
    log.append(1, b"another", b"record", [])
    return log


def _cut(tmp_path: Path) -> MemoryLog:
    log = _another(tmp_path)
    log.cut(0, 2)
    return log


def _made_again(tmp_path: Path) -> MemoryLog:
    _another(tmp_path)
    return MemoryLog(3, "topic-made-again")


def _beheaded(tmp_path: Path) -> MemoryLog:
    class Beheaded(MemoryLog):
        def first_offset(self, partition: int, timeout_s: float) -> int:
            return 4

    return filled(11, 60, log=Beheaded(3, "topic-11"))


def _with_a_gap(tmp_path: Path) -> MemoryLog:
    class Skipping(MemoryLog):
        def follow(self, positions, epochs=None):  # type: ignore[no-untyped-def]
            reader = super().follow(positions, epochs)
            poll = reader.poll
            reader.poll = lambda *a: [r for r in poll(*a) if r.offset != 5]  # type: ignore[method-assign]
            return reader

    return filled(11, 60, log=Skipping(3, "topic-11"))


def _foreign(tmp_path: Path) -> MemoryLog:
    (tmp_path / "letters.txt").write_text("not yours")
    return filled(11, 60)


def _of_more_topics(tmp_path: Path) -> MemoryLog:
    exported(tmp_path, {"jobs": filled(11, 60), "models": filled(11, 60)})
    return filled(11, 60)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (_made_again, "has the id topic-made-again: another log needs an archive of its own"),
        (_rewritten, "of partition 1 of jobs has another key than the archived one: the log has lost its end"),
        (_cut, "partition 0 of jobs ends at 2, the archive at .*keep .* export into a new folder"),
        (_beheaded, "partition 0 of jobs begins at offset 4: the records from 0 on were deleted"),
        (_with_a_gap, "after offset 4 partition 0 goes on at 6"),
        (_foreign, "is not empty, and no archive of a log: name another folder"),
        (_of_more_topics, "archives jobs, models, not jobs"),
    ],
)
def test_an_export_that_makes_no_sense_is_refused(
    tmp_path: Path, given: Callable[[Path], MemoryLog], said: str
) -> None:
    log = given(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.gz")}
    with pytest.raises(ArchiveError, match=said):
        exported(tmp_path, {"jobs": log})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.gz")}.items() >= before.items()
    assert (tmp_path / "letters.txt").exists() == (given is _foreign)


def _interrupted(tmp_path: Path) -> MemoryLog:
    _kill_export(tmp_path, lambda _: None, DARKROOM_FAILPOINT="archive-segment-kept:3")
    return MemoryLog(3)


def _used(log: MemoryLog) -> Callable[[Path], MemoryLog]:
    def given(tmp_path: Path) -> MemoryLog:
        exported(tmp_path, {"jobs": filled(11, 60)})
        return log

    return given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (_interrupted, "was interrupted, 1500 events are missing: export again, or, .*--incomplete"),
        (_used(filled(12, 30)), "partition 0 of jobs is not empty .*another (key|headers|value)"),
        (_used(filled(11, 70, log=MemoryLog(3, "another"))), "is not empty .it begins at offset 0 and ends at"),
        (_used(MemoryLog(3, "topic-11")), "this is the log that was archived: nothing to restore"),
        (_used(MemoryLog(4)), "the archive of jobs has 3 partitions, the topic 4: keys would move"),
        (lambda _: MemoryLog(3), "is no archive of a log"),
    ],
)
def test_a_restore_that_makes_no_sense_is_refused(
    tmp_path: Path, given: Callable[[Path], MemoryLog], said: str
) -> None:
    log = given(tmp_path)
    before = records_of(log)
    with pytest.raises(ArchiveError, match=said):
        restored(tmp_path, {"jobs": log})
    assert records_of(log) == before


def test_what_is_there_of_an_interrupted_export_can_be_restored_if_it_is_asked_for(tmp_path: Path) -> None:
    _kill_export(tmp_path, lambda _: None, DARKROOM_FAILPOINT="archive-manifest-kept:1")
    assert restored(tmp_path, {"jobs": MemoryLog(3, "new")}, incomplete=True).written == 0


def test_a_newer_format_says_so(tmp_path: Path) -> None:
    exported(tmp_path, {"jobs": MemoryLog(1)})
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(ArchiveError, match="version 2 of the format, this program knows up to 1"):
        read_manifest(tmp_path)


def test_a_log_without_times_is_restored(tmp_path: Path) -> None:
    """A log takes 0 for now; a record without a time gets the first millisecond of 1970."""
    log = MemoryLog(1)
    log.append(0, b"k", b"v", [], None)
    exported(tmp_path, {"jobs": log})
    restored(tmp_path, {"jobs": (new := MemoryLog(1, "new"))})
    assert [r[-1] for r in records_of(new)] == [1]
