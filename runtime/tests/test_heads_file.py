"""The heads file under other hands: whatever is done to it, at any time, no head and no verdict is ever false."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from darkroom.runtime import headsfile
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import HeadsFileLost, HeadStore
from darkroom.runtime.headsfile import PAGE_SIZE_BYTES, wal_of
from darkroom.runtime.protocol import Verdict
from darkroom.runtime.testing_writer import append_chain, append_event
from darkroom.schemas import job
from darkroom.schemas.errors import StoreUnavailable
from darkroom.schemas.testing import QUEUED, STARTED, SUCCEEDED

_JOBS_AT_FIRST = 40


class World:
    """A log, and a store over a file of it; `truth` is the same fold in memory."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryLog(2)
        self.path = folder / "heads.sqlite"
        self.names: list[str] = []
        self.store = HeadStore(self.path, self.log)
        self.truth = HeadStore(":memory:", self.log)

    def add(self, jobs: int) -> None:
        for _ in range(jobs):
            name = f"job-{len(self.names)}"
            ids = append_chain(self.log, name, QUEUED, STARTED, SUCCEEDED)
            append_event(self.log, name, job.Cancelled(1), 3, ids[1])  # void: the run had ended
            self.names.append(name)

    def fresh(self, store: HeadStore, records_max: int = 1_000_000) -> list[Record]:
        return list(self.log.follow(store.positions()).poll(0, records_max))

    def fold(self) -> None:
        self.store.apply(self.fresh(self.store))

    def reopen(self) -> None:
        self.store = HeadStore(self.path, self.log)

    def check(self) -> None:
        """Catches up, with the verdicts of the truth, to its heads."""
        self.truth.apply(self.fresh(self.truth))
        self.fold()
        assert {name: self.store.get(name) for name in self.names} == {n: self.truth.get(n) for n in self.names}
        assert self.store.positions() == self.truth.positions()
        assert self.store.count() == self.truth.count() == len(self.names)

    def image(self, folder: Path) -> Path:
        """The file as a process that is killed now would leave it."""
        folder.mkdir()
        for path in (self.path, wal_of(self.path)):
            with suppress(FileNotFoundError):  # somebody was there before
                shutil.copy2(path, folder / path.name)
        return folder / self.path.name


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(headsfile, "WAL_SIZE_BYTES_DUE", 25 * PAGE_SIZE_BYTES)
    folder = tmp_path / "live"
    folder.mkdir()
    world = World(folder)
    world.add(_JOBS_AT_FIRST)
    world.fold()
    yield world
    world.store.close()
    world.truth.close()


def with_old_image(world: World, folder: Path) -> Path:
    """Makes the world go on, and gives an image of what it was before."""
    image = world.image(folder / "old")
    world.add(8)
    for record in world.fresh(world.store):
        world.store.apply([record])
    return image


def remove_file(world: World, _: Path) -> None:
    world.path.unlink()


def remove_wal(world: World, _: Path) -> None:
    wal_of(world.path).unlink()


def remove_both(world: World, _: Path) -> None:
    world.path.unlink()
    wal_of(world.path).unlink()


def truncate_file(world: World, _: Path) -> None:
    os.truncate(world.path, world.path.stat().st_size // 2)


def empty_file(world: World, _: Path) -> None:
    os.truncate(world.path, 0)


def truncate_wal(world: World, _: Path) -> None:
    os.truncate(wal_of(world.path), wal_of(world.path).stat().st_size // 2)


def cut_wal_and_fill_up(world: World, _: Path) -> None:
    size = wal_of(world.path).stat().st_size
    os.truncate(wal_of(world.path), 0)
    os.truncate(wal_of(world.path), size)


def overwrite_file_in_place(world: World, old: Path) -> None:
    shutil.copyfile(old, world.path)


def overwrite_wal_in_place(world: World, old: Path) -> None:
    shutil.copyfile(wal_of(old), wal_of(world.path))


def overwrite_with_times(world: World, old: Path) -> None:
    shutil.copy2(old, world.path)


def overwrite_all_with_times(world: World, old: Path) -> None:
    shutil.copy2(old, world.path)
    shutil.copy2(wal_of(old), wal_of(world.path))


def swap_in_old_file(world: World, old: Path) -> None:
    os.replace(old, world.path)


def swap_in_old_wal(world: World, old: Path) -> None:
    os.replace(wal_of(old), wal_of(world.path))


def swap_in_all(world: World, old: Path) -> None:
    os.replace(old, world.path)
    os.replace(wal_of(old), wal_of(world.path))


def alter_a_page(world: World, _: Path) -> None:
    with world.path.open("r+b") as file:
        file.seek(world.path.stat().st_size // 2)
        file.write(b"torn")


def put_back_old_pages(world: World, old: Path) -> None:
    """Of the same length, and in themselves all right: only their time is wrong."""
    with world.path.open("r+b") as file, old.open("rb") as before:
        for page in range(2, old.stat().st_size // PAGE_SIZE_BYTES, 2):
            offset = page * PAGE_SIZE_BYTES
            file.seek(offset)
            before.seek(offset)
            file.write(before.read(PAGE_SIZE_BYTES))


ACTIONS = [
    remove_file,
    remove_wal,
    remove_both,
    truncate_file,
    empty_file,
    truncate_wal,
    cut_wal_and_fill_up,
    overwrite_file_in_place,
    overwrite_wal_in_place,
    overwrite_with_times,
    overwrite_all_with_times,
    swap_in_old_file,
    swap_in_old_wal,
    swap_in_all,
    alter_a_page,
    put_back_old_pages,
]
Action = Callable[[World, Path], None]


@pytest.mark.parametrize("act", ACTIONS)
def test_while_the_process_runs_no_verdict_is_told(world: World, tmp_path: Path, act: Action) -> None:
    old = with_old_image(world, tmp_path)
    assert world.store.failure() is None
    act(world, old)
    world.add(1)
    positions = world.store.positions()
    with pytest.raises(HeadsFileLost):
        world.fold()
    assert world.store.positions() == positions
    assert world.store.failure()
    world.store.close()
    world.reopen()
    world.check()


READS: list[Callable[[HeadStore], object]] = [
    lambda store: store.get("job-1"),
    lambda store: store.seen("job-1", "a-command"),
    lambda store: store.queued(0, 1),
    lambda store: store.running(0, 1),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("act", [overwrite_wal_in_place, put_back_old_pages])
def test_while_the_process_runs_nothing_is_read(
    world: World, tmp_path: Path, act: Action, read: Callable[[HeadStore], object]
) -> None:
    act(world, with_old_image(world, tmp_path))
    for _ in range(2):
        with pytest.raises(HeadsFileLost):
            read(world.store)
    assert world.store.failure()


@pytest.mark.parametrize("act", ACTIONS)
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_while_it_is_stopped_it_is_noticed_at_the_start(
    world: World, tmp_path: Path, act: Action, killed: bool
) -> None:
    old = with_old_image(world, tmp_path)
    image = world.image(tmp_path / "now") if killed else world.path
    world.store.close()
    world.path = image
    wal_of(image).touch()
    act(world, old)
    world.reopen()
    world.check()


def test_an_instance_at_rest_notices(world: World) -> None:
    assert world.store.failure() is None
    world.path.unlink()
    assert "changed or removed" in str(world.store.failure())


def test_a_second_process_that_finds_no_lock_file_keeps_out(world: World) -> None:
    Path(f"{world.path}.lock").unlink()
    with pytest.raises(StoreUnavailable, match="in use"):
        HeadStore(world.path, world.log)
    world.check()


def pages_changed(world: World) -> list[tuple[int, bytes]]:
    """What the next checkpoint will write into the file, in order."""
    frames = world.store._file._frames()
    wal = wal_of(world.path).read_bytes()
    return sorted((page, wal[offset : offset + PAGE_SIZE_BYTES]) for page, offset in frames.items())


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_a_kill_within_a_checkpoint_costs_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(headsfile, "WAL_SIZE_BYTES_DUE", 2**30)
    world.add(30)
    world.fold()
    image: Path | None = None
    complete = headsfile._complete_checkpoint

    def killed(db: object) -> None:
        nonlocal image
        image = world.image(tmp_path / "killed")
        changed = pages_changed(world)
        assert len(changed) >= 8
        with image.open("r+b") as file:
            for page, content in changed[: int(share * len(changed))]:
                file.seek((page - 1) * PAGE_SIZE_BYTES)
                file.write(content)
        complete(db)  # type: ignore[arg-type]

    monkeypatch.setattr(headsfile, "_complete_checkpoint", killed)
    world.store.copy_to(tmp_path / "copy")  # begins with a checkpoint
    monkeypatch.setattr(headsfile, "_complete_checkpoint", complete)
    assert image is not None
    positions = world.store.positions()
    world.store.close()

    world.path = image
    world.reopen()
    assert world.store.positions() == positions, "it had to be filled again"
    world.check()


def test_a_kill_between_any_two_batches_costs_nothing(world: World, tmp_path: Path) -> None:
    world.add(12)
    for number, record in enumerate(world.fresh(world.store)):
        world.store.apply([record])
        image = world.image(tmp_path / f"killed-{number}")
        left = HeadStore(image, world.log)
        assert left.positions() == world.store.positions()
        left.close()


def test_the_sum_that_is_carried_forward_is_that_of_the_file(world: World) -> None:
    for _ in range(12):
        world.add(6)
        world.fold()
        world.store._file.checkpoint()
        assert world.store._file._content == headsfile._content_of(world.store._file._main_fd)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.long) for n in range(4, 204))])
def test_anything_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Folds, checkpoints, kills, stops and foreign hands; files of any time are put beside one another."""
    monkeypatch.setattr(headsfile, "WAL_SIZE_BYTES_DUE", 25 * PAGE_SIZE_BYTES)
    chance = random.Random(seed)
    folder = tmp_path / "live"
    folder.mkdir()
    world = World(folder)
    images: list[Path] = []
    judged: dict[tuple[int, int], Verdict] = {}
    world.add(10)
    world.fold()
    for step in range(60):
        move = chance.randrange(5)
        if move == 0:
            world.add(chance.randrange(1, 6))
        elif move == 1:
            images.append(world.image(tmp_path / f"image-{step}"))
        elif move == 2 and images:
            keep = tmp_path / f"used-{step}"
            shutil.copytree(chance.choice(images).parent, keep)
            with suppress(FileNotFoundError):  # there may be nothing left to spoil
                chance.choice(ACTIONS)(world, keep / world.path.name)
        elif move == 3:  # killed, perhaps with hands on what it left
            left = world.image(tmp_path / f"left-{step}") if world.store.failure() is None else None
            world.store.close()
            if left is not None:
                with suppress(FileNotFoundError):
                    for path in (left, wal_of(left)):
                        shutil.copy2(path, folder / path.name)
                    if images and chance.random() < 0.5:
                        other = chance.choice([world.path, wal_of(world.path)])
                        shutil.copy2(chance.choice(images).parent / other.name, other)
            world.reopen()
        judged |= {(v.partition, v.offset): v for v in world.truth.apply(world.fresh(world.truth))}
        for record in world.fresh(world.store, chance.randrange(1, 40)):
            try:
                verdicts = world.store.apply([record])
            except HeadsFileLost:
                world.store.close()
                world.reopen()
                break
            assert all(verdict == judged[verdict.partition, verdict.offset] for verdict in verdicts)
    if world.store.failure() is not None:
        world.store.close()
        world.reopen()
    world.check()
    world.store.close()
    world.truth.close()


def test_pages_that_are_taken_and_given_back_at_once_are_in_the_sum(world: World) -> None:
    file = world.store._file
    with file.transaction():
        file.db.execute("UPDATE heads SET tenant = ? WHERE job = 'job-1'", ("x" * 40_000,))
        file.db.execute("UPDATE heads SET tenant = 'default' WHERE job = 'job-1'")
    before = file.seal[2]
    file.checkpoint()
    assert file.seal[2] > before
    assert file._content == headsfile._content_of(file._main_fd)
