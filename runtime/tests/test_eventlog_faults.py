"""The log on a real Kafka whose broker is frozen, full of waiting events, cut off, or restored from a backup."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException

from darkroom.cli.stack.testing_broker import OwnBroker, own_broker, proxied_broker
from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics, producing
from darkroom.runtime.eventlog.kafka.known import Known
from darkroom.runtime.eventlog.kafka.producing import Appender
from darkroom.runtime.eventlog.port import Ack, Record
from darkroom.runtime.testing_proxy import Api, Proxy
from darkroom.schemas.errors import LogUnavailable


@pytest.fixture(scope="module")
def _broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OwnBroker, Proxy]]:
    with proxied_broker(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture
def broker(_broker: tuple[OwnBroker, Proxy]) -> Iterator[tuple[OwnBroker, Proxy]]:
    yield _broker
    _broker[0].thaw()
    _broker[1].heal()


def fresh_log(broker: OwnBroker, **more: Any) -> KafkaLog:
    topic = f"t{uuid4().hex}"
    ensure_topics(broker.bootstrap, [TopicSpec(topic, 2, 1, TRUTH)], 60.0)
    return KafkaLog(broker.bootstrap, topic, **more)


def test_a_frozen_broker_is_told_within_the_deadlines_and_used_again_once_it_thaws(
    broker: tuple[OwnBroker, Proxy],
) -> None:
    own, _ = broker
    log = fresh_log(own, delivery_timeout_s=1.0)
    first = until(lambda: appended(log))  # a broker that has just started may let the first one wait
    reader = log.follow({0: first.offset + 1})

    own.freeze()
    began = monotonic()
    under_way = log.append(0, b"key", b"lost or late", [])
    for call in (lambda: log.end_offset(0, 0.3), lambda: log.first_offset(0, 0.3), lambda: log.read_one(0, 0, 0.3)):
        with pytest.raises(LogUnavailable):
            call()
    with pytest.raises(LogUnavailable, match="acknowledge"):
        under_way.result(10)
    assert list(reader.poll(0.1, 10)) == []
    assert monotonic() - began < 5

    own.thaw()
    ack = until(lambda: appended(log))
    assert log.read_one(0, ack.offset, 10).value == b"again"
    found: list[Record] = []
    until(lambda: found.extend(reader.poll(0.3, 10)) or (found and found[-1].offset >= ack.offset))
    assert [r.offset for r in found] == list(range(first.offset + 1, found[-1].offset + 1))
    reader.close()
    log.close(5.0)


def test_those_who_ask_do_not_wait_for_each_other(broker: tuple[OwnBroker, Proxy]) -> None:
    own, _ = broker
    log = fresh_log(own)
    log.end_offset(0, 10.0)
    own.freeze()

    def ask(partition: int) -> float:
        began = monotonic()
        with pytest.raises(LogUnavailable):
            log.end_offset(partition % 2, 1.0)
        return monotonic() - began

    with ThreadPoolExecutor(12) as threads:
        assert max(threads.map(ask, range(12))) < 4.0  # one after the other: 12
    log.close(1.0)


def test_too_many_waiting_events_are_refused_at_once(broker: tuple[OwnBroker, Proxy]) -> None:
    own, proxy = broker
    log = fresh_log(own, delivery_timeout_s=20.0, queue_records_max=5)
    until(lambda: appended(log))
    proxy.hold_requests(Api.PRODUCE)
    waiting: list[Future[Ack]] = []
    began = monotonic()
    with pytest.raises(LogUnavailable, match="too many"):
        waiting.extend(log.append(0, b"key", b"value", []) for _ in range(6))
    assert monotonic() - began < 5
    proxy.heal()
    # The first event's place may not have been given back at once: four or five found room.
    until(lambda: log.end_offset(0, 10) in (5, 6))
    assert until(lambda: appended(log)).offset in (5, 6)
    log.close(5.0)


def test_a_lost_acknowledgement_makes_no_second_record(broker: tuple[OwnBroker, Proxy]) -> None:
    own, proxy = broker
    log = fresh_log(own, delivery_timeout_s=10.0)
    until(lambda: appended(log))
    proxy.lose_answers(Api.PRODUCE)
    ack = log.append(0, b"key", b"once", []).result(20)
    assert proxy.lost(Api.PRODUCE) == 1
    assert ack.offset in (1, None)
    assert log.end_offset(0, 10) == 2
    log.close(5.0)


def test_a_reader_tells_the_ends_while_it_polls(broker: tuple[OwnBroker, Proxy]) -> None:
    own, _ = broker
    log = fresh_log(own)
    until(lambda: appended(log))
    reader = log.follow({0: 0, 1: 0})
    assert until(lambda: reader.poll(0.2, 10))
    enough = threading.Event()

    def poll() -> None:
        while not enough.is_set():
            reader.poll(0.1, 10)

    with ThreadPoolExecutor(2) as threads:
        polling = threads.submit(poll)
        try:
            for _ in range(3):
                threads.submit(reader.ends).result(10)  # not let in between two polls, it would wait for minutes
        finally:
            enough.set()
        polling.result(10)
    reader.poll(0.6, 10)
    reader.poll(0.6, 10)
    assert reader.ends()[0] == 1
    reader.close()
    log.close(5.0)


def test_a_record_in_the_place_of_another_ends_everything() -> None:
    known = Known("jobs")
    known.reached(0, 9)
    known.landed(0, 10, 10)
    known.landed(1, 0, 0)
    known.check()
    with pytest.raises(LogUnavailable, match="not the log that it was"):
        known.landed(0, 4, 11)
    with pytest.raises(LogUnavailable, match="another one stood"):
        known.check()


class _FailsForGood:
    """A producer as the library's is after a fatal error: its poll raises, its reports come after."""

    made = 0

    def __init__(self, _config: Any) -> None:
        type(self).made += 1
        self._fatal = type(self).made == 1
        self._reports: list[Callable[..., None]] = []

    def produce(self, *_: Any, on_delivery: Callable[..., None], **__: Any) -> None:
        self._reports.append(on_delivery)

    def poll(self, _timeout_s: float) -> None:
        if self._fatal and self._reports:
            self._fatal = False
            raise KafkaException(KafkaError(KafkaError._FATAL, "fatal", True))
        while self._reports:
            error = None if type(self).made > 1 else KafkaError(KafkaError._PURGE_QUEUE)
            self._reports.pop()(error, _Message())

    def purge(self) -> None: ...

    def flush(self, _timeout_s: float) -> int:
        return 0

    def __len__(self) -> int:
        return len(self._reports)


class _Message:
    def offset(self) -> int:
        return 0


def test_a_producer_that_failed_for_good_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producing, "Producer", _FailsForGood)
    monkeypatch.setattr(_FailsForGood, "made", 0)
    appender = Appender("nowhere", "jobs", Known("jobs"), 1.0, 10, 2**20)
    told: Future[Ack] = appender.append(0, b"k", b"v", [], None)
    with pytest.raises(LogUnavailable):
        told.result(10)
    assert appender.append(0, b"k", b"v", [], None).result(10) == Ack(0, 0)
    assert _FailsForGood.made == 2
    appender.close(1.0)


@pytest.mark.long
def test_a_broker_restored_from_a_backup_makes_a_producer_fail_for_good(tmp_path: Path) -> None:
    """The real trigger of the same: the broker's sequence numbers are behind the producer's."""
    with own_broker(tmp_path) as own:
        log = fresh_log(own, delivery_timeout_s=5.0)
        until(lambda: appended(log))
        own.stop()
        own.save(tmp_path / "backup")
        own.start()
        acks = [until(lambda: appended(log)) for _ in range(3)]
        assert acks[-1].offset == 3
        own.stop()
        own.restore(tmp_path / "backup")
        own.start()
        with pytest.raises(LogUnavailable):
            log.append(0, b"key", b"on top of what was lost", []).result(20)
        assert appended(log) is None  # the next producer's event lands where another one stood
        with pytest.raises(LogUnavailable, match="not the log that it was"):
            log.append(0, b"key", b"again", [])
        log.close(1.0)


def appended(log: KafkaLog) -> Ack | None:
    try:
        return log.append(0, b"key", b"again", []).result(20)
    except LogUnavailable:
        return None


def until(attempt: Callable[[], Any]) -> Any:
    """The first result that is true, within a minute. Each attempt waits by itself."""
    deadline = monotonic() + 60
    while monotonic() < deadline:
        if found := attempt():
            return found
    raise AssertionError("nothing came in time")
