"""If-Match on commands: 412 where the job stands at another version, and nothing is appended."""

from uuid import uuid4

import pytest

from darkroom.schemas import job

COMMANDS = {
    "run": ("post", "/runs"),
    "cancel": ("post", "/cancel"),
    "delete": ("delete", ""),
}


def _ask(door, command: str, job_id: str, if_match: str, **headers: str):
    method, path = COMMANDS[command]
    return getattr(door, method)(f"/jobs/{job_id}{path}", headers={"If-Match": if_match, **headers})


def _differs(answer, status: str | None = None) -> bool:
    problem = answer.json
    assert (answer.status_code, problem["type"]) == (412, "urn:darkroom:problem:version-differs"), problem
    return problem.get("job_status") == status


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_effect_at_the_version_that_was_read_and_at_no_other(door, command):
    job_id = door.create(execute=command != "run")
    status = "created" if command == "run" else "queued"
    before = len(door.records())
    for stale in ('"2"', 'W/"1"', '"1.0"', '"abc"', '"01"', '""', '"2", W/"1"', '"9999999999"'):
        assert _differs(_ask(door, command, job_id, stale), status), stale
    assert len(door.records()) == before
    answer = _ask(door, command, job_id, '"7" , "1"')
    assert (answer.status_code, answer.json["version"]) == (202, 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_star_means_any_version(door, command):
    assert _ask(door, command, door.create(execute=command != "run"), "*").status_code == 202
    assert _ask(door, command, str(uuid4()), "*").status_code == 404


def test_unknown_and_deleted_come_before_the_version_and_the_version_before_the_state(door):
    assert _ask(door, "cancel", str(uuid4()), '"1"').status_code == 404
    job_id = door.create(execute=False)
    assert _ask(door, "cancel", job_id, '"1"').status_code == 409
    assert _differs(_ask(door, "cancel", job_id, '"2"'), "created")
    assert door.delete(f"/jobs/{job_id}").status_code == 202
    assert _ask(door, "cancel", job_id, '"1"').status_code == 410


@pytest.mark.parametrize("command", COMMANDS)
def test_a_repetition_gets_its_first_answer_although_it_has_moved_the_version_itself(door, command):
    job_id = door.create(execute=command != "run")
    key = {"Idempotency-Key": f"k-{uuid4()}"}
    first = _ask(door, command, job_id, '"1"', **key)
    assert first.status_code == 202, first.json
    assert _ask(door, command, job_id, '"1"', **key).json == first.json


def test_a_job_that_is_not_there_stands_at_no_version(door):
    before = len(door.records())
    body = door.body()
    for if_match in ("*", '"1"', '"0"'):
        assert _differs(door.post("/jobs", body, headers={"If-Match": if_match}))
        assert _differs(door.put(f"/jobs/{uuid4()}", body, headers={"If-Match": if_match}))
    assert len(door.records()) == before
    job_id = str(uuid4())
    first = door.put(f"/jobs/{job_id}", body)
    assert door.put(f"/jobs/{job_id}", body, headers={"If-Match": "*"}).json == first.json


def test_the_version_is_that_of_the_log_not_that_of_a_lagging_reader(door):
    job_id = door.create()
    door.executor(job_id, job.Start(1, "e", 15.0))
    assert _differs(_ask(door, "cancel", job_id, '"1"'), "running")
    assert _ask(door, "cancel", job_id, '"2"').status_code == 202


@pytest.mark.parametrize("malformed", ["1", "abc", '"1', '1"', '"1" "2"', '*, "1"', '"a"b"', ",", 'w/"1"'])
def test_a_malformed_condition_is_refused(door, malformed):
    job_id = door.create()
    answer = _ask(door, "cancel", job_id, malformed)
    assert (answer.status_code, answer.json["type"]) == (400, "urn:darkroom:problem:malformed-header")
    assert len(door.events(job_id)) == 1


def test_a_model_has_no_entity_tag(door):
    name = door.model()
    assert _differs(door.delete(f"/models/{name}/versions/1", headers={"If-Match": '"1"'}))
    assert _differs(door.delete(f"/models/{name}/versions/2", headers={"If-Match": "*"}))
    assert _differs(door.register(name, "2", headers={"If-Match": "*"}))
    assert door.register(name, "1", headers={"If-Match": "*"}).status_code == 202
    assert door.delete(f"/models/{name}/versions/1", headers={"If-Match": "*"}).status_code == 202
