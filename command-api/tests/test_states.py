"""What each command gives by the job's state: the table of the HTTP contract, cell by cell."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from darkroom.schemas import job

START = job.Start(1, "e", 15.0)
SUCCEED = job.Succeed(1, 1, (), None, {}, {})
FAIL = job.Fail(1, 1, job.Problem("urn:darkroom:problem:model-crashed", "t", "d"))


def _executed(*commands: job.Command) -> Callable[..., None]:
    return lambda door, job_id: door.executor(job_id, *commands)


def _nothing(door, job_id) -> None:
    pass


def _cancel(door, job_id) -> None:
    assert door.post(f"/jobs/{job_id}/cancel").status_code == 202


def _delete(door, job_id) -> None:
    assert door.delete(f"/jobs/{job_id}").status_code == 202


STATES = {
    "created": (False, _nothing),
    "queued": (True, _nothing),
    "running": (True, _executed(START)),
    "succeeded": (True, _executed(START, SUCCEED)),
    "failed": (True, _executed(START, FAIL)),
    "cancelled": (True, _cancel),
    "deleted": (True, _delete),
}
RUN = {
    "created": 202,
    "queued": 409,
    "running": 409,
    "succeeded": 202,
    "failed": 202,
    "cancelled": 202,
    "deleted": 410,
}
CANCEL = {
    "created": 409,
    "queued": 202,
    "running": 202,
    "succeeded": 409,
    "failed": 409,
    "cancelled": 409,
    "deleted": 410,
}
DELETE = dict.fromkeys(STATES, 202) | {"deleted": 410}
AFTER = {"run": "queued", "cancel": "cancelled", "delete": "deleted"}


def _in_state(door, state: str, job_id: str | None = None, **changes) -> tuple[str, dict]:
    execute, reach = STATES[state]
    body = door.body(execute=execute, **changes)
    job_id = job_id or str(uuid4())
    first = door.put(f"/jobs/{job_id}", body)
    assert first.status_code == 202, first.json
    reach(door, job_id)
    return job_id, {"body": body, "first": first.json}


def _command(door, name: str, job_id: str, **more):
    if name == "delete":
        return door.delete(f"/jobs/{job_id}", **more)
    return door.post(f"/jobs/{job_id}/{'runs' if name == 'run' else 'cancel'}", **more)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("name", "statuses"), [("run", RUN), ("cancel", CANCEL), ("delete", DELETE)])
def test_a_command_by_state(door, state, name, statuses):
    job_id, _ = _in_state(door, state)
    before = len(door.events(job_id))
    answer = _command(door, name, job_id)
    assert answer.status_code == statuses[state], answer.json
    if answer.status_code == 202:
        assert answer.json["status"] == AFTER[name]
        assert answer.json["version"] == before + 1 == len(door.events(job_id))
        assert answer.headers["Location"] == answer.json["urls"]["result"]
    else:
        assert answer.json["job_status"] == state
        assert len(door.events(job_id)) == before, "a refused command appends nothing"
        assert answer.content_type == "application/problem+json"
        if answer.status_code == 409:
            assert state in answer.json["detail"]


@pytest.mark.parametrize("state", STATES)
def test_put_again(door, state):
    job_id, past = _in_state(door, state)
    before = len(door.events(job_id))
    again = door.put(f"/jobs/{job_id}", past["body"])
    if state == "deleted":
        assert (again.status_code, again.json["type"]) == (410, "urn:darkroom:problem:job-deleted")
    else:
        assert (again.status_code, again.json) == (202, past["first"])
    other = door.put(f"/jobs/{job_id}", {**past["body"], "labels": {"another": "body"}})
    assert (other.status_code, other.json["type"]) == (422, "urn:darkroom:problem:key-reused")
    assert len(door.events(job_id)) == before


@pytest.mark.parametrize("state", STATES)
def test_a_repeated_create_under_its_key(door, state):
    execute, reach = STATES[state]
    body, key = door.body(execute=execute), {"Idempotency-Key": str(uuid4())}
    first = door.post("/jobs", body, headers=key)
    reach(door, first.json["id"])
    before = len(door.records())
    again = door.post("/jobs", body, headers=key)
    assert (again.status_code, again.json) == (202, first.json), "even of a deleted job"
    other = door.post("/jobs", {**body, "deadline_s": 61}, headers=key)
    assert (other.status_code, other.json["type"]) == (422, "urn:darkroom:problem:key-reused")
    assert len(door.records()) == before


@pytest.mark.parametrize(
    ("state", "name"), [("succeeded", "run"), ("queued", "cancel"), ("failed", "delete"), ("created", "delete")]
)
def test_a_repeated_command_under_its_key(door, state, name):
    job_id, _ = _in_state(door, state)
    key = {"Idempotency-Key": str(uuid4())}
    first = _command(door, name, job_id, headers=key)
    assert first.status_code == 202
    before = len(door.records())
    assert _command(door, name, job_id, headers=key).json == first.json
    if name != "delete":
        assert door.delete(f"/jobs/{job_id}").status_code == 202
        assert _command(door, name, job_id, headers=key).json == first.json, "also once the job is deleted"
        before += 1
    reused = _command(door, "delete" if name != "delete" else "cancel", job_id, headers=key)
    assert (reused.status_code, reused.json["type"]) == (422, "urn:darkroom:problem:key-reused")
    assert len(door.records()) == before


@pytest.mark.parametrize("name", ["run", "cancel", "delete"])
@pytest.mark.parametrize("job_id", ["00000000-0000-7000-8000-000000000000", "no-uuid", "..%2F..%2Fx", "a b"])
def test_an_unknown_job(door, name, job_id):
    answer = _command(door, name, job_id)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    if "%2F" not in job_id:
        assert answer.json["type"] == "urn:darkroom:problem:unknown-job"
