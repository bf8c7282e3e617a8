"""Copies of the heads in the blob store: made beside the tail, bounded in number, and never believed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from darkroom.runtime import headscopy, headsfile, headsopen
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import HeadsFileLost, HeadStore
from darkroom.runtime.headscopy import KEPT, HeadCopies, HeadsCopier
from darkroom.runtime.headsfile import Stamp
from darkroom.runtime.testing_writer import append_chain
from darkroom.schemas.errors import StoreUnavailable
from darkroom.schemas.testing import QUEUED, STARTED

_TIMEOUT_S = 10.0


class Failing(BlobStore):
    """A store that can be away, and can be waited for in the middle of a put."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.away = False
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def put_copy(self, name: str, data: Path) -> None:
        self.reached.set()
        assert self.go_on.wait(_TIMEOUT_S)
        self._check()
        super().put_copy(name, data)

    def copies(self, folder: str) -> dict[str, int]:
        self._check()
        return super().copies(folder)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Instance:
    """A store over a file of its own, and its copier."""

    def __init__(self, log: MemoryLog, blobs: BlobStore, folder: Path, every_events: int = 10) -> None:
        self.log = log
        self.copies = HeadCopies(blobs)
        self.path = folder / "heads.sqlite"
        self.store = HeadStore(self.path, log, copies=self.copies)
        self.copier = HeadsCopier(self.store, self.path, self.copies, every_events)

    def passed(self) -> int:
        return sum(self.store.positions().values())

    def fold(self) -> None:
        self.store.apply(fresh(self.log, self.store))

    def folder(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.iterdir())


def fresh(log: MemoryLog, store: HeadStore) -> list[Record]:
    return list(log.follow(store.positions()).poll(0, 1_000_000))


def add(log: MemoryLog, events: int) -> None:
    known = sum(log.end_offset(p, 1) for p in range(log.partitions))
    for number in range(known, known + events, 2):
        append_chain(log, f"job-{number}", QUEUED, STARTED)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog(2, topic_id="Topic-id_1")
    add(log, 20)
    return log


@pytest.fixture
def blobs() -> Failing:
    return Failing()


@pytest.fixture
def first(log: MemoryLog, blobs: Failing, tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(log, blobs, tmp_path / "first")
    instance.fold()
    yield instance
    instance.store.close()


def the_name(blobs: BlobStore) -> str:
    (name,) = blobs.copies("heads")
    return name


def spoil(blobs: BlobStore, tmp_path: Path, content: bytes, name: str = "") -> None:
    path = tmp_path / "spoilt"
    path.write_bytes(content)
    blobs.put_copy(name or the_name(blobs), path)


def test_a_machine_without_a_file_begins_with_the_copy_and_catches_up(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path
) -> None:
    name = first.copier.turn()
    assert name is not None
    assert name.startswith(f"heads/Topic-id_1/2-{headsopen.FOLD_VERSION}/{20:016d}-")
    add(log, 4)
    second = Instance(log, blobs, tmp_path / "second")
    assert second.passed() == 20
    second.fold()
    first.fold()
    assert second.store.count() == first.store.count() == 12
    assert all(second.store.get(f"job-{n}") == first.store.get(f"job-{n}") for n in range(0, 24, 2))
    second.store.close()
    assert second.folder() == ["heads.sqlite", "heads.sqlite.lock"]


def test_a_copy_is_made_every_so_many_events(log: MemoryLog, blobs: Failing, first: Instance) -> None:
    assert first.copier.turn()
    assert first.copier.turn() is None
    for events, due in ((8, False), (2, True)):
        add(log, events)
        first.fold()
        assert (first.copier.turn() is not None) is due
    assert first.folder() == ["heads.sqlite", "heads.sqlite-wal", "heads.sqlite.lock"]


def test_none_is_made_where_it_is_switched_off(first: Instance) -> None:
    copier = HeadsCopier(first.store, first.path, first.copies, 0)
    copier.start()
    assert copier.turn() is None
    copier.stop()


def test_what_another_instance_has_copied_is_not_copied_again(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path
) -> None:
    second = Instance(log, blobs, tmp_path / "second")
    second.fold()
    assert first.copier.turn()
    assert second.copier.turn() is None
    add(log, 10)
    second.fold()
    assert second.copier.turn()
    second.store.close()


def test_only_the_newest_copies_are_kept(log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path) -> None:
    other = Stamp("Topic-id_1", 2, headsopen.FOLD_VERSION + 1)
    path = tmp_path / "of-another-fold"
    path.write_bytes(b"x")
    kept = {first.copies.put(other, path, 7)}
    made = []
    for _ in range(KEPT + 3):
        add(log, 10)
        first.fold()
        made.append(first.copier.turn())
    assert set(blobs.copies("heads")) == {*made[-KEPT:], *kept}


@pytest.mark.parametrize("stamp", ["topic", "partitions", "fold"])
def test_a_copy_of_something_else_is_not_even_looked_at(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path, stamp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first.copier.turn()
    other = MemoryLog(3 if stamp == "partitions" else 2, topic_id="another" if stamp == "topic" else log.topic_id)
    if stamp == "fold":
        monkeypatch.setattr(headsopen, "FOLD_VERSION", headsopen.FOLD_VERSION + 1)
    second = Instance(other, blobs, tmp_path / "second")
    assert second.passed() == 0
    second.store.close()


def test_a_copy_that_calls_itself_something_else_is_not_used(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path
) -> None:
    """Put by hand under the name of another topic."""
    name = first.copier.turn()
    assert name is not None
    spoil(blobs, tmp_path, b"".join(blobs.stream_copy(name)), name.replace("Topic-id_1", "another"))
    other = MemoryLog(2, topic_id="another")
    add(other, 20)
    second = Instance(other, blobs, tmp_path / "second")
    assert second.passed() == 0
    second.store.close()


def test_a_copy_that_is_ahead_of_the_log_is_not_used(blobs: Failing, first: Instance, tmp_path: Path) -> None:
    assert first.copier.turn()
    behind = MemoryLog(2, topic_id="Topic-id_1")
    add(behind, 18)
    second = Instance(behind, blobs, tmp_path / "second")
    assert second.passed() == 0
    second.store.close()


@pytest.mark.parametrize("how", ["empty", "cut", "altered", "longer", "garbage"])
def test_a_broken_copy_is_not_used_and_the_one_before_it_is(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path, how: str
) -> None:
    assert first.copier.turn()
    add(log, 10)
    first.fold()
    name = first.copier.turn()
    assert name is not None
    whole = b"".join(blobs.stream_copy(name))
    half = len(whole) // 2
    content = {
        "empty": b"",
        "cut": whole[:half],
        "altered": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
        "longer": whole + b"x",
        "garbage": b"garbage",
    }[how]
    spoil(blobs, tmp_path, content, name)
    second = Instance(log, blobs, tmp_path / "second")
    assert second.passed() == 20
    second.fold()
    assert second.store.count() == first.store.count()
    second.store.close()


def test_a_copy_with_the_right_name_of_wrong_content_is_not_used(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path
) -> None:
    """Its digest is right, but a page of it is from another time: only the content tells."""
    raw = tmp_path / "raw"
    first.store.copy_to(raw)
    content = bytearray(raw.read_bytes())
    content[-headsfile.PAGE_SIZE_BYTES] ^= 1
    raw.write_bytes(content)
    first.copies.put(first.store.stamp, raw, 20)
    second = Instance(log, blobs, tmp_path / "second")
    assert second.passed() == 0
    second.store.close()


def test_a_copy_that_would_not_end_is_given_up(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path
) -> None:
    name = first.copier.turn()
    assert name is not None
    size = name.rpartition("/")[2].split("-")[1]
    lying = name.replace(f"-{size}-", "-4096-")
    spoil(blobs, tmp_path, b"".join(blobs.stream_copy(name)), lying)
    blobs.delete_copy(name)
    second = Instance(log, blobs, tmp_path / "second")
    assert second.passed() == 0
    second.store.close()
    late = HeadStore(tmp_path / "late" / "heads.sqlite", log, copies=HeadCopies(blobs, bring_timeout_s=0))
    assert sum(late.positions().values()) == 0
    late.close()


def test_what_claims_to_be_far_ahead_hinders_nobody(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path
) -> None:
    lies = [f"heads/Topic-id_1/2-{headsopen.FOLD_VERSION}/{9 * 10**15 + n:016d}-1-{'0' * 64}" for n in range(KEPT)]
    for lie in lies:
        spoil(blobs, tmp_path, b"x", lie)
    assert first.copier.turn()
    second = Instance(log, blobs, tmp_path / "second")
    assert second.passed() == 20
    second.store.close()


def test_a_store_that_is_away_delays_nobody_and_is_tried_again_later(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs.away = True
    assert first.copier.turn() is None
    second = Instance(log, blobs, tmp_path / "second")
    assert second.passed() == 0
    second.store.close()
    blobs.away = False
    assert first.copier.turn() is None, "not at once"
    now = headscopy.monotonic()
    monkeypatch.setattr(headscopy, "monotonic", lambda: now + 61)
    assert first.copier.turn()
    assert first.folder() == ["heads.sqlite", "heads.sqlite-wal", "heads.sqlite.lock"]


def test_folds_and_reads_go_on_while_a_copy_is_made(
    log: MemoryLog, blobs: Failing, first: Instance, tmp_path: Path
) -> None:
    blobs.go_on.clear()
    thread = threading.Thread(target=first.copier.turn)
    thread.start()
    assert blobs.reached.wait(_TIMEOUT_S)
    add(log, 30)
    first.fold()
    assert first.passed() == 50
    assert first.store.get("job-48") is not None
    blobs.go_on.set()
    thread.join(_TIMEOUT_S)
    second = Instance(log, blobs, tmp_path / "second")
    assert second.passed() == 20, "the copy is of the moment at which it was begun"
    second.store.close()


def test_a_checkpoint_waits_for_the_copy_of_the_file_or_the_copy_is_given_up(
    log: MemoryLog, first: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds in the middle of the copying: below the bound the file stands still, above it the copy is worth
    nothing, and says so."""
    monkeypatch.setattr(headsfile, "WAL_SIZE_BYTES_DUE", 1)
    copy_main = headsfile.HeadsFile.copy_main

    def meanwhile(file: headsfile.HeadsFile, target: Path, seal: headsfile.Seal) -> None:
        add(log, 10)
        first.fold()
        copy_main(file, target, seal)

    monkeypatch.setattr(headsfile.HeadsFile, "copy_main", meanwhile)
    assert first.store.copy_to(tmp_path / "copy") == 20
    monkeypatch.setattr(headsfile, "_WAL_SIZE_BYTES_HELD", 1)
    with pytest.raises(HeadsFileLost, match="while it was copied"):
        first.store.copy_to(tmp_path / "copy")
    first.fold()
    assert first.store.failure() is None
    assert first.passed() == 40


def test_the_thread_copies_and_stops(first: Instance, blobs: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headscopy, "_CHECK_EVERY_S", 0.01)
    first.copier.start()
    assert blobs.reached.wait(_TIMEOUT_S)
    first.copier.stop(_TIMEOUT_S)
    assert not first.copier._thread.is_alive()
    assert len(blobs.copies("heads")) == 1
