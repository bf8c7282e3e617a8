"""A log that lost records it had acknowledged, and then went on: those who had read them must notice.

The broker's loss is real: it is killed, the end of a segment is cut off on its disk, and it is started again.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import pytest

from darkroom.cli.stack.testing_broker import OwnBroker, own_broker
from darkroom.runtime.eventlog.kafka import KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Reader, Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.headsfold import Mark
from darkroom.runtime.testing_writer import WriterInstance, append_chain
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.testing import QUEUED

TIMEOUT_S = 30.0


@dataclass
class World:
    broker: OwnBroker
    topic: str

    def log(self) -> KafkaLog:
        return KafkaLog(self.broker.bootstrap, self.topic, delivery_timeout_s=TIMEOUT_S)

    def append(self, *values: bytes) -> None:
        log = self.log()
        for value in values:
            log.append(0, b"key", value, []).result(TIMEOUT_S)
        log.close(TIMEOUT_S)

    def lose_from(self, offset: int) -> None:
        """Kills the broker, cuts the partition off at `offset`, and starts it again."""
        self.broker.kill()
        folder = self.broker.data / f"{self.topic}-0"
        _cut(next(folder.glob("*.log")), offset)
        for index in [*folder.glob("*.index"), *folder.glob("*.timeindex"), *folder.glob("*.snapshot")]:
            index.unlink()  # made again from the segment
        self.broker.start()


def _cut(segment: Path, offset: int) -> None:
    """Removes the batches from `offset` on. A batch: its first offset in 8 bytes, its length in 4, then as many."""
    data = segment.read_bytes()
    at = 0
    while at < len(data):
        first, length = struct.unpack_from(">qi", data, at)
        if first >= offset:
            break
        at += 12 + length
    assert at < len(data), "there was nothing to lose"
    segment.write_bytes(data[:at])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture
def world(broker: OwnBroker, unique_name: str) -> World:
    ensure_topics(broker.bootstrap, [TopicSpec(unique_name, 1, 1)], TIMEOUT_S)
    return World(broker, unique_name)


def _read(reader: Reader, count: int) -> list[Record]:
    found: list[Record] = []
    until = monotonic() + TIMEOUT_S
    while len(found) < count:
        assert monotonic() < until, found
        found += reader.poll(0.5, 100)
    return found


def _noticed(reader: Reader) -> bool:
    """Does the reader fail, rather than hand out what stands behind its position now?"""
    until = monotonic() + TIMEOUT_S
    try:
        while monotonic() < until:
            if reader.poll(0.5, 100):
                return False
    except LogUnavailable as error:
        return "is lost" in str(error)
    raise AssertionError("the reader neither failed nor read")


def test_readers_of_lost_records_notice_and_others_go_on(world: World) -> None:
    world.append(b"a", b"b", b"c")
    log = world.log()
    running, healthy = log.follow({0: 0}), log.follow({0: 0})
    before = _read(running, 3)
    assert [record.value for record in before] == [b"a", b"b", b"c"]
    kept = [record for record in healthy.poll(TIMEOUT_S, 2) if record.offset < 2][-1]
    healthy.close()

    world.lose_from(2)
    world.append(b"C", b"D", b"E")
    found = log.read_one(0, 2, TIMEOUT_S)
    assert found.value == b"C"
    assert found.leader_epoch > before[2].leader_epoch == kept.leader_epoch

    assert _noticed(running)  # it was connected before and after
    later = log.follow({0: 3}, {0: before[2].leader_epoch})
    assert _noticed(later)  # it begins only now, behind a record that is another one
    healthy = log.follow({0: kept.offset + 1}, {0: kept.leader_epoch})
    assert _read(healthy, 1)[0].offset == kept.offset + 1
    for reader in (running, later, healthy):
        reader.close()
    log.close(TIMEOUT_S)


def _heads_known(path: Path, log: MemoryLog) -> set[str]:
    """Which of the jobs a, b and c are known from the file alone, before anything is read from the log."""
    heads = HeadStore(path, log)
    found = {job for job in "abc" if heads.get(job) is not None}
    heads.close()
    return found


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, MemoryLog]:
    """A heads file that knows the jobs a and b, at offsets 0 and 1, and its log."""
    path, log = tmp_path / "heads.sqlite", MemoryLog(1)
    for name in "ab":
        append_chain(log, name, QUEUED)
    with WriterInstance(log, path) as instance:
        instance.caught_up()
    assert _heads_known(path, log) == {"a", "b"}
    return path, log


def test_heads_of_lost_events_are_not_used(kept: tuple[Path, MemoryLog]) -> None:
    path, log = kept
    log.cut(0, 1)
    append_chain(log, "c", QUEUED)
    append_chain(log, "d", QUEUED)
    assert _heads_known(path, log) == set()
    with WriterInstance(log, path) as instance:  # a new file, filled from the log
        instance.caught_up()
    assert _heads_known(path, log) == {"a", "c"}


def test_heads_are_used_where_only_later_events_were_lost(kept: tuple[Path, MemoryLog]) -> None:
    path, log = kept
    append_chain(log, "c", QUEUED)
    log.cut(0, 2)
    append_chain(log, "d", QUEUED)
    assert _heads_known(path, log) == {"a", "b"}


def test_a_backup_in_place_of_the_log_is_noticed_by_the_event_alone(kept: tuple[Path, MemoryLog]) -> None:
    """Its leader epochs begin again where the backup was taken."""
    path, log = kept
    log.cut(0, 1)
    append_chain(log, "c", QUEUED)
    last = log.read_one(0, 1, TIMEOUT_S)
    log._records[0][1] = replace(last, leader_epoch=log.read_one(0, 0, TIMEOUT_S).leader_epoch)
    assert _heads_known(path, log) == set()


def test_the_same_record_put_back_above_another_past_is_noticed_by_the_epoch(kept: tuple[Path, MemoryLog]) -> None:
    """A producer's retry can do that: same record, same offset, but what stood before it is gone."""
    path, log = kept
    last = log.read_one(0, 1, TIMEOUT_S)
    log.cut(0, 0)
    append_chain(log, "c", QUEUED)
    log.append(0, last.key or b"", last.value or b"", last.headers)
    assert Mark.of(log.read_one(0, 1, TIMEOUT_S)).id == Mark.of(last).id
    assert _heads_known(path, log) == set()
