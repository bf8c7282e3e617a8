"""The model catalogue and its writer: registering, retiring, finding, races, and records that are no events."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic

import pytest

from darkroom.runtime.catalogue import Catalogue
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.ids import new_id
from darkroom.runtime.protocol import Accepted
from darkroom.runtime.tail import Tail
from darkroom.runtime.testing_writer import CONTEXT, TIMEOUT_S, HeldBack
from darkroom.runtime.writer import ModelWriter
from darkroom.schemas import model
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import LogUnavailable, Refused, TailBehind
from darkroom.schemas.job import Identity, Why
from darkroom.schemas.testing import DIGEST

ONE = model.Description(
    "cats", "1", "classification", "litert", {"type": "upload"}, {"digest": DIGEST}, {}, {}, {"digest": DIGEST}
)
TWO = replace(ONE, version="2")


class Instance:
    """A catalogue with its tail and writer."""

    def __init__(self, log: MemoryLog, held_back: bool = False) -> None:
        self.changes: list[None] = []
        self.catalogue = Catalogue(log, lambda: self.changes.append(None))
        self.gate = HeldBack(self.catalogue)
        if not held_back:
            self.gate.open()
        self.tail = Tail(log, self.gate, "models")
        self.writer = ModelWriter(log, self.tail, self.catalogue)
        self.tail.start()

    def execute(self, command: model.ModelCommand, content: str = "content", key: str = "") -> Accepted:
        name = command.description.name if isinstance(command, model.Register) else command.name
        identity = Identity(key or new_id(), content, "default", keyed=bool(key))
        return self.writer.execute(name, command, identity, CONTEXT, monotonic() + TIMEOUT_S)

    def find(self, reference: str, timeout_s: float = TIMEOUT_S) -> model.Entry | None:
        return self.writer.find(reference, monotonic() + timeout_s)[1]

    def stop(self) -> None:
        self.gate.open()
        self.tail.stop()


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(2)


@pytest.fixture
def one(log: MemoryLog) -> Iterator[Instance]:
    made = Instance(log)
    yield made
    made.stop()


@pytest.fixture
def behind(log: MemoryLog) -> Iterator[Instance]:
    made = Instance(log, held_back=True)
    yield made
    made.stop()


def test_registering_and_finding(one: Instance) -> None:
    registered = one.execute(model.Register(ONE))
    assert (registered.offset, registered.outcome.newest().description) == (0, ONE)
    one.execute(model.Register(TWO))
    newest, first = one.find("cats"), one.find("cats@1")
    assert newest is not None
    assert first is not None
    assert (newest.description, first.description) == (TWO, ONE)
    assert one.find("cats@3") is None
    assert one.find("dogs") is None
    assert one.changes


def test_the_same_content_again_is_no_change(one: Instance, log: MemoryLog) -> None:
    first = one.execute(model.Register(ONE))
    again = one.execute(model.Register(ONE))
    assert (again.offset, again.repeated) == (first.offset, True)
    with pytest.raises(Refused) as caught:
        one.execute(model.Register(ONE), "other content")
    assert caught.value.refusal.why is Why.KEY_REUSED
    assert log.end_offset(partition_of("cats", 2), 1) == 1


def test_retiring(one: Instance) -> None:
    one.execute(model.Register(ONE))
    retired = one.execute(model.Retire("cats", "1"), key="retire")
    assert one.execute(model.Retire("cats", "1"), key="retire").offset == retired.offset
    entry = one.find("cats@1")
    assert entry is not None
    assert entry.retired
    assert one.find("cats") is None
    for command, why in ((model.Retire("cats", "1"), Why.DELETED), (model.Retire("cats", "2"), Why.UNKNOWN)):
        with pytest.raises(Refused) as caught:
            one.execute(command)
        assert caught.value.refusal.why is why


def test_a_model_is_unknown_only_behind_a_barrier(one: Instance, behind: Instance) -> None:
    one.execute(model.Register(ONE))
    with pytest.raises(TailBehind):
        behind.find("cats", timeout_s=0.05)
    behind.gate.open()
    assert behind.find("cats") is not None


def test_without_the_log_an_unknown_model_is_not_refused(one: Instance, log: MemoryLog) -> None:
    one.execute(model.Register(ONE))
    log.available = False
    assert one.find("cats") is not None
    with pytest.raises(LogUnavailable):
        one.find("dogs")


def test_of_two_contents_for_one_version_one_wins(one: Instance, log: MemoryLog) -> None:
    two = Instance(log)

    def register(instance: Instance, content: str) -> str:
        try:
            instance.execute(model.Register(ONE), content)
        except Refused as error:
            return error.refusal.why
        return "accepted"

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(register, (one, two, one, two), ("a", "b", "c", "d")))
    two.stop()
    assert sorted(results) == sorted(["accepted", *["key-reused"] * 3])


def test_a_run_finds_its_model_by_digest(one: Instance) -> None:
    one.execute(model.Register(ONE))
    one.execute(model.Retire("cats", "1"))
    found = one.catalogue.by_digest("cats", "1", DIGEST)
    assert found is not None
    assert found.description == ONE
    assert one.catalogue.by_digest("cats", "1", "sha256:other") is None
    assert one.catalogue.by_digest("cats", "2", DIGEST) is None


def test_what_is_no_event_changes_nothing_and_a_damaged_body_only_the_chain(one: Instance, log: MemoryLog) -> None:
    one.execute(model.Register(ONE))
    own = partition_of("cats", 2)
    record = log.read_one(own, 0, 1)
    foreign = next(name for name in (f"dogs-{n}" for n in range(9)) if partition_of(name, 2) == own)
    log.append(1 - own, foreign.encode(), b"{}", record.headers)
    log.append(own, b"cats", b"", [])
    last = one.catalogue.get("cats").last_event_id
    second = {"streamversion": b"2", "previd": last.encode(), "id": b"e2"}
    log.append(own, b"cats", b"{", [(n, second.get(n, v)) for n, v in record.headers])
    one.tail.caught_up(TIMEOUT_S)
    head = one.catalogue.get("cats")
    assert one.catalogue.get(foreign).version == 0
    assert (head.version, head.last_event_id, list(head.entries)) == (2, "e2", ["1"])
    assert one.execute(model.Retire("cats", "1")).outcome.version == 3
