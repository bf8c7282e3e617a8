"""`Prefer: wait=N` on commands that start a run: 303 to the result once the run has ended, otherwise the 202."""

import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from uuid import uuid4

import pytest

from darkroom.command_api.endings import Endings
from darkroom.runtime.ids import Position
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.testing import CREATED, QUEUED, STARTED, SUCCEEDED, fold

START = job.Start(1, "e", 15.0)
SUCCEED = job.Succeed(1, 1, (), None, {}, {})
ENDS = {
    "succeeded": (START, SUCCEED),
    "failed": (START, job.Fail(1, 1, job.Problem("urn:darkroom:problem:model-crashed", "t", "d"))),
    "cancelled": (job.Cancel(),),
    "deleted": (START, job.Delete()),
}
TIMEOUT_S = 10.0


def _wait(seconds: int) -> dict[str, str]:
    return {"Prefer": f"wait={seconds}"}


def _while(door, ask, job_id: str, *commands: job.Command):
    """The answer of a request, the commands taking effect while it waits."""
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        until = monotonic() + TIMEOUT_S
        while door.jobs.heads.get(job_id) is None or door.jobs.heads.get(job_id).status not in job.ACTIVE:
            assert monotonic() < until
            threading.Event().wait(0.005)
        door.executor(job_id, *commands)
        return asked.result(TIMEOUT_S)


def _other_client(door):
    return door.client.application.test_client()


@pytest.mark.parametrize("end", ENDS)
def test_the_answer_comes_with_the_end_of_the_run(door, end):
    job_id = str(uuid4())
    body = door.body()
    client = _other_client(door)
    path = f"/api/v1/inference/jobs/{job_id}"
    answer = _while(door, lambda: client.put(path, json=body, headers=_wait(30)), job_id, *ENDS[end])
    events = door.events(job_id)
    assert (answer.status_code, answer.json["status"], answer.json["run"]) == (303, end, 1)
    assert answer.json["version"] == len(events)
    assert answer.headers["Location"] == answer.json["urls"]["result"]
    assert answer.headers["Preference-Applied"] == "wait=30"
    position = Position.parse(answer.json["position"])
    partition = partition_of(job_id, door.job_log.partitions)
    last = door.job_log.read_one(position.partition, position.offset, 1)
    assert (position.partition, dict(last.headers)["id"].decode()) == (partition, events[-1].guard.event_id)


def test_a_repetition_finds_the_run_ended(door):
    key = {"Idempotency-Key": "wait-for-what-has-ended"}
    body = door.body()
    accepted = door.post("/jobs", body, headers=key)
    assert accepted.status_code == 202
    door.executor(accepted.json["id"], START, SUCCEED)
    answer = door.post("/jobs", body, headers={**key, **_wait(30)})
    assert (answer.status_code, answer.json["status"], answer.json["version"]) == (303, "succeeded", 3)
    assert door.post("/jobs", body, headers=key).json == accepted.json


def test_the_run_that_was_asked_for_is_waited_for_not_an_earlier_one(door):
    job_id = door.create()
    door.executor(job_id, START, SUCCEED)
    client = _other_client(door)
    path = f"/api/v1/inference/jobs/{job_id}/runs"
    second = (job.Start(2, "e", 15.0), job.Succeed(2, 1, (), None, {}, {}))
    answer = _while(door, lambda: client.post(path, headers=_wait(30)), job_id, *second)
    assert (answer.status_code, answer.json["run"], answer.json["version"]) == (303, 2, 6)


def test_when_time_is_up_it_is_the_202(door):
    answer = door.post("/jobs", door.body(), headers=_wait(1))
    assert (answer.status_code, answer.json["status"]) == (202, "queued")
    assert "Preference-Applied" not in answer.headers


def test_nothing_is_waited_for_where_no_run_was_asked_for(door):
    begun = monotonic()
    answer = door.post("/jobs", door.body(execute=False), headers=_wait(60))
    assert (answer.status_code, answer.json["status"]) == (202, "created")
    assert door.delete(f"/jobs/{answer.json['id']}", headers=_wait(60)).status_code == 202
    assert monotonic() - begun < 30


class Folds:
    """A head that moves when it is told to."""

    def __init__(self) -> None:
        self.head = fold(QUEUED)

    def get(self, _job_id: str) -> job.Head | None:
        return self.head


def test_only_so_many_wait_and_a_stop_ends_all_waits() -> None:
    stopping, folds = threading.Event(), Folds()
    endings = Endings(1, stopping)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(endings.wait, "job", 1, folds.get, 60)
        until = monotonic() + TIMEOUT_S
        while not endings._waiting:
            assert monotonic() < until
            threading.Event().wait(0.005)
        assert endings.wait("other", 1, folds.get, 60) is None  # at once: the only place is taken
        stopping.set()
        assert waiting.result(TIMEOUT_S) is None
    stopping.clear()
    folds.head = fold(QUEUED, STARTED, SUCCEEDED)
    assert endings.wait("job", 1, folds.get, 0) == folds.head  # the place is free again
    assert not endings._waiting


def test_while_a_later_run_goes_on_there_is_no_result_to_be_sent_to() -> None:
    folds = Folds()
    folds.head = fold(QUEUED, STARTED, SUCCEEDED, job.ExecutionRequested(2, QUEUED.spec))
    endings = Endings(1, threading.Event())
    assert endings.wait("job", 1, folds.get, 0) is None
    assert endings.wait("job", 2, folds.get, 0) is None
    folds.head = fold(QUEUED, STARTED, SUCCEEDED, job.ExecutionRequested(2, QUEUED.spec), job.Cancelled(2))
    assert endings.wait("job", 1, folds.get, 0) == folds.head
    folds.head = fold(CREATED)
    assert endings.wait("unknown", 1, lambda _: None, 0) is None
