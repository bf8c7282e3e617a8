"""The list of jobs: filters, order, cursors, and what is refused."""

from typing import Any
from urllib.parse import quote

import pytest

from darkroom.query_api import bodies

OTHER = {"name": "other", "version": "2", "digest": "sha256:" + "b" * 64}


def ids(service: Any, query: str = "") -> list[str]:
    return [item["id"] for item in service.json(f"/jobs{query}")["items"]]


def test_newest_first_without_results(service: Any) -> None:
    jobs = [service.log.create() for _ in range(3)]
    service.log.succeed(jobs[0], [{"input": 0, "kind": "classification", "classes": []}])
    body = service.json("/jobs")
    assert [item["id"] for item in body["items"]] == jobs[::-1]
    assert body["next"] is None
    assert "results" not in body["items"][2]
    assert not bodies.JobList().validate(body)


def test_filters(service: Any) -> None:
    log = service.log
    queued = log.create(labels=["batch:42", "camera:1"])
    running = log.create(labels=["batch:42"], model=OTHER)
    log.event(running, "execution-started")
    failed = log.create()
    log.event(failed, "execution-failed", error={"type": "t", "title": "T", "detail": "D"})
    deleted = log.create(labels=["batch:42"])
    log.event(deleted, "deleted")
    assert ids(service, "?status=queued") == [queued]
    assert ids(service, "?status=failed&status=running") == [failed, running]
    assert ids(service, "?model=other") == [running]
    assert ids(service, "?model=other@1") == []
    assert ids(service, "?label=batch:42") == [running, queued]
    assert ids(service, "?label=batch:42&label=camera:1") == [queued]
    assert ids(service, f"?id={queued[:-1].upper()}") == [queued]
    assert ids(service, "?created_to=2026-11-22T10:00:00Z") == []
    at = quote(service.json(f"/jobs/{running}")["created_at"])
    assert ids(service, f"?created_from={at}") == [failed, running]
    assert ids(service, f"?created_to={at}") == [queued]
    assert ids(service, "?created_from=2026-11-22T11:00:00+01:00") == [failed, running, queued]
    assert service.json("/jobs?status=failed")["items"][0]["error"]["title"] == "T"


def test_pages_meet_every_job_once(service: Any) -> None:
    jobs = [service.log.create() for _ in range(5)]
    for job in jobs[1:4]:  # three of the very same time: the id decides
        service.log.jobs[job]["created_at"] = service.log.jobs[jobs[1]]["created_at"]
        service.log.write(job)
    seen: list[str] = []
    answer = service.get("/jobs?limit=2&status=queued")
    for _ in range(5):
        seen += [item["id"] for item in answer.json["items"]]
        if answer.json["next"] is None:
            break
        assert answer.headers["Link"].endswith('>; rel="next"')
        link = answer.headers["Link"].split(">")[0].removeprefix("<")
        assert link.startswith("http://query.test/api/v1/inference/jobs?limit=2&status=queued&cursor=")
        service.log.create()  # a newer job does not shift the older pages
        answer = service.client.get(link.removeprefix("http://query.test"))
    assert len(seen) == 5
    assert seen == sorted(seen, key=lambda j: (service.log.jobs[j]["created_at"], j), reverse=True)


def test_a_cursor_belongs_to_its_filters(service: Any) -> None:
    for _ in range(2):
        service.log.create()
    cursor = service.json("/jobs?limit=1")["next"]
    assert service.json(f"/jobs?limit=1&cursor={cursor}")["next"] is None
    assert service.json(f"/jobs?limit=1&status=queued&cursor={cursor}", 400)["type"].endswith("malformed-position")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "e30",
        "W10",
        "%00",
        "WzEsIDFlNDAwLCAiYSIsICJiIl0",
        "WzEsdHJ1ZSwiYSIsImIiXQ",
        "WzEsOTk5OTk5OTk5OTk5OTk5OTk5OSwiYSIsImIiXQ",
        "é",
        "A" * 400,
    ],
)
def test_forged_cursors_are_400(service: Any, cursor: str) -> None:
    assert service.json(f"/jobs?cursor={cursor}", 400)["type"] == "urn:darkroom:problem:malformed-position"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=-1", "?limit"),
        ("limit=201", "?limit"),
        ("limit=1000000000", "?limit"),
        ("limit=1.5", "?limit"),
        ("limit=1_0", "?limit"),
        ("limit=%D9%A1", "?limit"),
        ("limit=1&limit=2", "?limit"),
        ("wait=61", "?wait"),
        ("status=done", "?status"),
        ("status=deleted", "?status"),
        ("status[$ne]=failed", "?status[$ne]"),
        ("status[]=failed", "?status[]"),
        ("%24where=1", "?$where"),
        ("sort=$where", "?sort"),
        ("model=", "?model"),
        ("label=nocolon", "?label"),
        ("id=zz", "?id"),
        ("id=(a%2B)%2B$", "?id"),
        ("id=01%0A", "?id"),
        ("created_from=yesterday", "?created_from"),
        ("created_from=2026-11-22T10:00:00", "?created_from"),
        ("created_to=0001-01-01T00:00:00%2B23:00", "?created_to"),
        ("cursor=" + "A" * 401, "?cursor"),
    ],
)
def test_queries_that_are_wrong_name_the_parameter(service: Any, query: str, pointer: str) -> None:
    problem = service.json(f"/jobs?{query}", 422)
    assert problem["type"] == "urn:darkroom:problem:invalid-request"
    assert problem["errors"][0]["pointer"].startswith(pointer)


@pytest.mark.parametrize("query", ['model={"$ne":null}', "label=$where:1", "label=a.b:{$gt:1}", "model=%00"])
def test_operators_in_values_are_only_text(service: Any, query: str) -> None:
    service.log.create()
    assert service.json(f"/jobs?{query}")["items"] == []
