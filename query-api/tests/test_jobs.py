"""Jobs, lists and runs over HTTP."""

import threading
from time import monotonic
from typing import Any

import orjson
import pytest

from darkroom.query_api import bodies
from darkroom.runtime.ids import Position, new_id

DETECTION = {
    "input": 0,
    "kind": "detection",
    "detections": [{"label": "star", "class_index": 3, "score": 0.9, "box": [2, 3, 20, 10]}],
}


def test_a_job_is_read_as_the_contract_says(service: Any) -> None:
    job = service.log.create(labels=["batch:42", "url:http://x"])
    service.log.event(job, "execution-started", attempt=1)
    position = service.log.succeed(job, [DETECTION])
    answer = service.get(f"/jobs/{job}")
    body = answer.json
    assert answer.headers["ETag"] == '"3"'
    assert body | {"urls": None, "inputs": None} == {
        "id": job,
        "tenant": "default",
        "status": "succeeded",
        "version": 3,
        "position": position,
        "model": {"name": "shapes", "version": "1", "digest": "sha256:" + "a" * 64},
        "created_at": body["created_at"],
        "updated_at": "2026-11-22T10:00:01.000Z",
        "labels": {"batch": "42", "url": "http://x"},
        "inputs": None,
        "run": 1,
        "attempt": 1,
        "results": [DETECTION],
        "error": None,
        "timing": {"queued_ms": 12.0, "running_ms": 48.0, "decode_ms": 6.0, "inference_ms": 9.5},
        "provenance": {"runtime": "litert"},
        "urls": None,
    }
    assert set(body["inputs"][0]) == {"digest", "media_type", "size_bytes", "width_px", "height_px"}
    assert body["urls"]["result"] == f"http://query.test/api/v1/inference/jobs/{job}?after={position}"
    assert body["urls"]["web"] == f"http://query.test/jobs/{job}"
    assert body["urls"]["cancel"] == f"http://command.test/api/v1/inference/jobs/{job}/cancel"
    assert not bodies.Job().validate(body)  # the documented schema and the body agree, field by field


def test_the_version_is_the_etag(service: Any) -> None:
    job = service.log.create()
    fresh = service.get(f"/jobs/{job}", headers={"If-None-Match": '"1"'})
    assert fresh.status_code == 304
    assert fresh.data == b""
    assert fresh.headers["ETag"] == '"1"'
    service.log.event(job, "execution-started")
    assert service.get(f"/jobs/{job}", headers={"If-None-Match": '"1"'}).status_code == 200


def test_a_job_without_a_run(service: Any) -> None:
    body = service.json(f"/jobs/{service.log.create(run=None)}")
    assert (body["status"], body["run"], body["results"], body["timing"]) == ("created", 0, None, {})


def test_large_results_come_from_the_blob_store(service: Any) -> None:
    digest = service.log.blobs.put(orjson.dumps([DETECTION]))
    job = service.log.create()
    service.log.succeed(job, None, results_blob={"digest": digest, "size_bytes": 9})
    assert service.json(f"/jobs/{job}")["results"] == [DETECTION]
    assert service.json(f"/jobs/{job}/runs/1")["results"] == [DETECTION]


@pytest.mark.parametrize("job", ["01a20356-df65-71d6-8609-b61c359edf4f", "x", "..%2f..%2fx", "'", "0" * 400])
def test_unknown_jobs_are_404(service: Any, job: str) -> None:
    for suffix in ("", "/runs", "/runs/1", "/events", "/inputs/0", "/inputs/0/annotated"):
        problem = service.json(f"/jobs/{job}{suffix}", 404)
        assert problem["type"] in ("urn:darkroom:problem:unknown-job", "urn:darkroom:problem:not-found")


def test_another_tenants_job_is_unknown(service: Any) -> None:
    job = service.log.create(tenant="other")
    mine = service.json(f"/jobs/{new_id()}", 404)
    assert service.json(f"/jobs/{job}", 404) == mine
    assert service.json(f"/jobs/{job}/events", 404) == mine
    assert service.json("/jobs")["items"] == []


def test_a_deleted_job_leaves_a_tombstone_and_its_history(service: Any) -> None:
    job = service.log.create()
    service.log.event(job, "deleted")
    for suffix in ("", "/runs", "/runs/1", "/inputs/0", "/inputs/0/annotated"):
        problem = service.json(f"/jobs/{job}{suffix}", 410)
        assert problem["type"] == "urn:darkroom:problem:job-deleted"
        assert (problem["id"], problem["deleted_at"]) == (job, "2026-11-22T10:00:00.750Z")
    events = service.json(f"/jobs/{job}/events")["items"]
    assert [e["status"] for e in events] == ["queued", "deleted"]
    assert not [e for e in events if "data" in e]
    assert service.json("/jobs")["items"] == []


def test_after_is_answered_at_once_when_passed(service: Any) -> None:
    job = service.log.create()
    token = service.log.event(job, "execution-started")
    assert service.json(f"/jobs/{job}?after={token}&wait=0")["status"] == "running"


def test_after_waits_for_the_read_model(service: Any) -> None:
    job = service.log.create()
    partition = service.log.jobs[job]["partition"]
    token = Position("jobs-topic-id", partition, service.log.ends[partition]).token()
    later = threading.Timer(0.2, service.log.event, [job, "execution-started"])
    later.start()
    begun = monotonic()
    assert service.json(f"/jobs/{job}?after={token}&wait=20")["status"] == "running"
    assert monotonic() - begun < 5  # woken, not timed out
    later.join()


def test_after_says_when_the_read_model_is_behind(service: Any) -> None:
    job = service.log.create()
    partition = service.log.jobs[job]["partition"]
    token = Position("jobs-topic-id", partition, service.log.ends[partition]).token()
    for path in (f"/jobs/{job}", "/jobs", f"/jobs/{job}/runs", f"/jobs/{new_id()}"):
        answer = service.get(f"{path}?after={token}&wait=0")
        assert answer.status_code == 503, path
        assert answer.json["type"] == "urn:darkroom:problem:read-model-behind"
        assert int(answer.headers["Retry-After"]) > 0


def test_after_may_be_repeated(service: Any) -> None:
    one, two = service.log.create(), service.log.create()
    passed = service.log.event(one, "execution-started")
    partition = service.log.jobs[two]["partition"]
    coming = Position("jobs-topic-id", partition, service.log.ends[partition] + 7).token()
    assert service.json(f"/jobs?after={passed}&after={passed}&wait=0")
    assert service.json(f"/jobs?after={passed}&after={coming}&wait=0", 503)


@pytest.mark.parametrize(
    "token", ["x", "", "%00", "MS4zLjE3", Position("another-topic", 0, 0).token(), Position("no", 99, 0).token()]
)
def test_positions_that_are_not_ours_are_400(service: Any, token: str) -> None:
    job = service.log.create()
    answer = service.get(f"/jobs/{job}?after={token}&wait=0")
    assert (answer.status_code, answer.json["type"].rsplit(":")[-1]) in (
        (400, "malformed-position"),
        (422, "invalid-request"),  # empty
    )


def test_prefer_wait_answers_when_the_job_has_ended(service: Any) -> None:
    job = service.log.create()
    steps = threading.Timer(
        0.2, lambda: [service.log.event(job, "execution-started"), service.log.succeed(job, [DETECTION])]
    )
    steps.start()
    begun = monotonic()
    answer = service.get(f"/jobs/{job}", headers={"Prefer": "respond-async, wait=30"})
    assert answer.json["status"] == "succeeded"
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert monotonic() - begun < 5
    steps.join()


def test_prefer_wait_ends_with_the_state_as_it_is(service: Any) -> None:
    job = service.log.create()
    begun = monotonic()
    answer = service.get(f"/jobs/{job}", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json["status"]) == (200, "queued")
    assert "Preference-Applied" not in answer.headers
    assert 0.9 < monotonic() - begun < 4


@pytest.mark.parametrize("preference", ["wait=x", "wait", "wait=-1", "handling=strict", ";;,=,"])
def test_preferences_that_are_not_understood_are_ignored(service: Any, preference: str) -> None:
    job = service.log.create()
    answer = service.get(f"/jobs/{job}", headers={"Prefer": preference})
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers


def test_as_of_is_refused_for_now(service: Any) -> None:
    problem = service.json(f"/jobs/{service.log.create()}?as_of=2026-11-22T10:00:00Z", 422)
    assert problem["type"] == "urn:darkroom:problem:not-supported-yet"


def test_runs(service: Any) -> None:
    job = service.log.create()
    attempt = {"attempt": 1, "executor": "e1", "started_at": None, "ended_at": None}
    attempt |= {"started_at": service.log.tick(), "outcome": "running", "reason": None}
    service.log.event(job, "execution-started", attempt=1, attempts=[attempt])
    current = service.json(f"/jobs/{job}/runs/1")
    assert (current["status"], current["attempts"][0]["outcome"]) == ("running", "running")
    assert not bodies.Run().validate(current)
    service.log.succeed(job, [DETECTION])
    doc = service.log.jobs[job]
    doc["run"] = service.log.run(2, doc["model"], doc["inputs"], service.log.tick())
    service.log.event(job, "execution-requested")
    listed = service.json(f"/jobs/{job}/runs")["items"]
    assert [(r["run"], r["status"]) for r in listed] == [(1, "succeeded"), (2, "queued")]
    assert not bodies.RunSummary(many=True).validate(listed)
    assert service.json(f"/jobs/{job}/runs/1")["results"] == [DETECTION]
    assert service.json(f"/jobs/{job}")["run"] == 2
    assert service.json(f"/jobs/{job}/runs/3", 404)["type"] == "urn:darkroom:problem:not-found"
    assert service.json(f"/jobs/{job}/runs/99999999999999999999", 404)


def test_a_switch_of_generations_hides_nothing(service: Any) -> None:
    """The alias moves and the old generation is dropped, while this process still knows the old alias."""
    job = service.log.create()
    assert service.json(f"/jobs/{job}")["version"] == 1
    service.log.checkpoints("jobs", 2)
    service.log.write(job, generation=2)
    service.log.switch(2)
    assert service.json(f"/jobs/{job}")["version"] == 1
    assert len(service.json("/jobs")["items"]) == 1
    assert len(service.json(f"/jobs/{job}/events")["items"]) == 1
