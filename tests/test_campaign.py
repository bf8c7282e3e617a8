"""Three command APIs and two executors on a real broker: conflicting commands at the same moment, and idempotency.

One fleet for the whole module. The tests of idempotency ask under keys, one after the other the APIs are restarted
and killed, and after each the same questions must get the same answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from campaign.client import Clients
from campaign.fleet import Fleet
from campaign.history import CANCEL, CREATE, DELETE, RUN, Call
from campaign.observer import Observer
from campaign.plan import Ask
from campaign.rounds import Campaign

from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.headsfold import REMEMBERED_OFFSETS
from darkroom.runtime.ids import job_id_of, new_id
from darkroom.schemas.chain import Guard, partition_of
from darkroom.schemas.wire import guard_headers

pytestmark = pytest.mark.timeout(300)  # with the start of five processes on a machine that is busy otherwise

JOBS = 150
AT_ONCE = 20
ANSWERS = {"202", "303", "404", "409", "410", "412", "422", "503"}
_FILL_TIMEOUT_S = 30.0
_FILLED_AT_ONCE = 5_000


@pytest.fixture(scope="module")
def fleet(kafka: str, stack_folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(stack_folder / "fleet", f"fleet-{uuid4().hex[:12]}", kafka=kafka)
    yield fleet
    fleet.close()


def test_every_answer_to_conflicting_commands_is_true(fleet: Fleet, tmp_path: Path) -> None:
    campaign = Campaign(fleet)
    try:
        result = campaign.round(new_id()[-12:], jobs=JOBS, keep=tmp_path)
    finally:
        campaign.close()
    assert not result.violations, "\n".join([result.line(), *map(str, result.violations[:20])])
    # A load without conflicts would prove nothing.
    assert result.jobs == JOBS
    assert result.void > JOBS / 2, result.line()
    assert ANSWERS - {"503"} <= set(result.statuses) <= ANSWERS, result.line()
    assert result.runs["succeeded"] > JOBS / 10, result.line()
    assert not result.runs["failed"], result.line()


# ---------------------------------------------------------------------------------------------- idempotency


@dataclass(frozen=True)
class Asked:
    """A request that has taken effect, another one under its key or id, and what the first was answered."""

    job_id: str
    ask: Ask
    other: Ask
    answer: Call


class Door:
    """The three APIs without executors, so that nothing but clients moves a job; and all that was asked so far."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.clients = self._connect()
        self.observer = Observer(fleet.settings.kafka, fleet.settings.topic_jobs)
        self.asked: list[Asked] = []

    def close(self) -> None:
        self.clients.close()
        self.observer.close()

    def reconnect(self) -> None:
        """Fresh connections: those to instances that were started again are dead."""
        self.clients.close()
        self.clients = self._connect()

    def _connect(self) -> Clients:
        return Clients(self.fleet.ports, self.fleet.media, threads=AT_ONCE, timeout_s=15.0)

    def at_once(self, job_id: str, ask: Ask, times: int = AT_ONCE) -> list[Call]:
        """The same request many times at the same moment, in turn through all instances."""
        return [future.result() for future in [self.clients.submit(job_id, ask, n) for n in range(times)]]

    def effects(self, job_id: str) -> list[str]:
        """The types of the job's events that count."""
        return [event.type for event in self.observer.story(job_id).accepted]

    def job_for(self, op: str) -> str:
        """A job on which a command can take effect."""
        job_id = str(uuid4())
        variant = "a" if op == CANCEL else "a idle"
        one_answer(self.at_once(job_id, Ask(CREATE, "PUT", None, variant), 1))
        return job_id

    def catch_up(self, partition: int) -> None:
        """Every instance has read the partition to its end: before it says that there is no such job, it must."""
        nobody = job_in(partition, self.observer.partitions)
        for number in range(len(self.fleet.apis)):
            assert self.clients.ask(nobody, Ask(CANCEL), number).status == 404

    def remember(self, job_id: str, ask: Ask, other: Ask, answer: Call) -> None:
        self.asked.append(Asked(job_id, ask, other, answer))

    def check_all_again(self) -> None:
        """Everything asked so far is answered as it was, by every instance, and has no further effect."""
        assert len(self.asked) >= 5, "run the whole module"
        before = [self.effects(one.job_id) for one in self.asked]
        for one in self.asked:
            again = one_answer([one.answer, *self.at_once(one.job_id, one.ask, 3)])
            assert again.body["id"] == one.job_id
            assert {call.status for call in self.at_once(one.job_id, one.other, 3)} == {422}
        assert [self.effects(one.job_id) for one in self.asked] == before


@pytest.fixture(scope="module")
def door(fleet: Fleet) -> Iterator[Door]:
    for executor in fleet.executors:
        executor.stop()
    door = Door(fleet)
    yield door
    door.close()


def one_answer(calls: list[Call]) -> Call:
    """All were accepted, and answered alike."""
    assert {call.status for call in calls} == {202}, [(call.status, call.body, call.error) for call in calls]
    assert len({tuple(sorted(call.body.items())) for call in calls}) == 1, [call.body for call in calls]
    return calls[0]


def requests_for(op: str, key: str) -> tuple[Ask, Ask]:
    """A command under a key, and another request under the same key."""
    if op == RUN:
        return Ask(RUN, "POST", key, "3"), Ask(RUN, "POST", key, "4")
    cancel, delete = Ask(CANCEL, "POST", key), Ask(DELETE, "DELETE", key)
    return (cancel, delete) if op == CANCEL else (delete, cancel)


EVENTS = {CREATE: "created", RUN: "execution-requested", CANCEL: "cancelled", DELETE: "deleted"}
COMMANDS = [RUN, CANCEL, DELETE]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_create_twenty_times_at_once_is_one_job(method: str, door: Door) -> None:
    key = new_id() if method == "POST" else None
    job_id = str(uuid4()) if key is None else job_id_of("default", key)
    ask = Ask(CREATE, method, key, "a idle")
    answer = one_answer(door.at_once(job_id, ask))
    assert (answer.body["id"], answer.body["status"], answer.body["version"]) == (job_id, "created", 1)
    other = replace(ask, variant="b idle")
    assert {call.status for call in door.at_once(job_id, other, 6)} == {422}
    assert door.effects(job_id) == ["created"]
    door.remember(job_id, ask, other, answer)


@pytest.mark.parametrize("op", COMMANDS)
def test_a_command_twenty_times_at_once_takes_effect_once(op: str, door: Door) -> None:
    job_id = door.job_for(op)
    ask, other = requests_for(op, "once")
    answer = one_answer(door.at_once(job_id, ask))
    assert {call.status for call in door.at_once(job_id, other, 6)} == {422}
    assert door.effects(job_id) == ["created", EVENTS[op]]
    door.remember(job_id, ask, other, answer)


@pytest.mark.parametrize("op", [CREATE, *COMMANDS])
@pytest.mark.parametrize("failpoint", ["writer-after-produce", "writer-after-ack"])
def test_a_command_whose_answer_dies_with_the_instance_is_settled_by_its_key(
    op: str, failpoint: str, door: Door, deadly: dict[str, int]
) -> None:
    if op == CREATE:
        job_id = str(uuid4())
        ask = Ask(CREATE, "PUT", None, "a idle")
        other = replace(ask, variant="b idle")
    else:
        job_id = door.job_for(op)
        ask, other = requests_for(op, "killed")
    doomed = door.fleet.apis[deadly[failpoint]]
    doomed.wait_ready()
    unanswered = door.clients.ask(job_id, ask, deadly[failpoint])
    assert unanswered.status is None, (unanswered.status, unanswered.body)
    answer = one_answer([door.at_once(job_id, ask, 1)[0] for _ in range(2)])
    assert door.effects(job_id).count(EVENTS[op]) == 1
    if failpoint == "writer-after-ack":
        # It stood in the log before it was asked for again: its first effect is the one that was answered.
        assert door.observer.story(job_id).accepted[-1].record.timestamp_ms <= unanswered.end_wall_ms
    door.remember(job_id, ask, other, answer)


@pytest.fixture(scope="module")
def deadly(door: Door) -> Iterator[dict[str, int]]:
    """By failpoint, which API dies of it at every command that it appends; the first one never does."""
    numbers = {"writer-after-produce": 1, "writer-after-ack": 2}
    for failpoint, number in numbers.items():
        door.fleet.apis[number].kill()
        door.fleet.apis[number].start(DARKROOM_FAILPOINT=failpoint)
    yield numbers
    door.fleet.heal(door.fleet.apis)


def test_all_of_it_is_remembered_by_instances_that_are_started_again(door: Door) -> None:
    first, second, third = door.fleet.apis
    assert first.stop()
    second.kill()
    second.lose_data()
    third.kill()
    door.fleet.heal(door.fleet.apis)
    door.reconnect()
    door.check_all_again()


def test_a_command_is_remembered_for_a_window_and_a_create_for_ever(door: Door) -> None:
    log = KafkaLog(door.fleet.settings.kafka, door.fleet.settings.topic_jobs)
    job_id = door.job_for(RUN)
    partition = partition_of(job_id, log.partitions)
    ask, other = requests_for(RUN, "window")
    first = one_answer(door.at_once(job_id, ask, 3))
    at = door.observer.story(job_id).accepted[-1].offset
    one_answer(door.at_once(job_id, Ask(CANCEL, key="over"), 1))  # or a second run would be refused

    fill(log, partition, at + REMEMBERED_OFFSETS)
    door.catch_up(partition)
    one_answer([first, *door.at_once(job_id, ask, 3)])
    assert door.at_once(job_id, other, 1)[0].status == 422

    fill(log, partition, at + REMEMBERED_OFFSETS + 1)
    door.catch_up(partition)
    (later,) = door.at_once(job_id, ask, 1)
    assert (later.status, later.body["run"]) == (202, 2), "the window's end, as documented"
    log.close(2.0)

    mine = Ask(CREATE, "PUT", None, "a idle")
    assert one_answer(door.at_once(job_id, mine, 3)).body["version"] == 1
    assert door.at_once(job_id, replace(mine, variant="b"), 1)[0].status == 422


def fill(log: KafkaLog, partition: int, end: int) -> None:
    """Appends void events to a partition until it ends at `end`."""
    key = job_in(partition, log.partitions)
    headers = guard_headers(Guard(key, new_id(), "darkroom.job.deleted.v1", 9, "none", new_id(), "", "default"))
    while (missing := end - log.end_offset(partition, _FILL_TIMEOUT_S)) > 0:
        acks = [log.append(partition, key.encode(), b"{}", headers) for _ in range(min(missing, _FILLED_AT_ONCE))]
        for ack in acks:
            ack.result(_FILL_TIMEOUT_S)
    assert log.end_offset(partition, _FILL_TIMEOUT_S) == end


def job_in(partition: int, partitions: int) -> str:
    """The id of no job yet, in a partition."""
    return next(key for key in (str(uuid4()) for _ in range(1_000)) if partition_of(key, partitions) == partition)
