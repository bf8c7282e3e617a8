"""Bad queries and ids against the query API as a process: each refused in full, and nothing of them logged."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpx
import orjson
import pytest

from darkroom.cli.stack.ports import free_port
from darkroom.runtime.http.problems import PROBLEMS

from .conftest import Log

# Fixed, since it names tests: processes that share the tests have to agree on their names.
SECRET = "S3CRET9e0c5b7d31f24a68b5d4c7e8f1a2b3c4"
_START_TIMEOUT_S = 30.0


@dataclass
class Process:
    """The service with one queued job, and its log."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path
    job: str

    def check_refused(self, path: str, status: int, name: str, **headers: str) -> Any:
        since = self.log.stat().st_size
        answer = self.client.get(path.replace("{job}", self.job), headers=headers)
        body = answer.json()
        assert (answer.status_code, body["type"]) == (status, "urn:darkroom:problem:" + name), body
        assert answer.headers["content-type"] == "application/problem+json"
        assert (body["status"], body["title"]) == (status, PROBLEMS[name].title)
        assert SECRET not in answer.text
        assert self.process.poll() is None
        said = self.log.read_bytes()[since:].decode()
        assert "Traceback" not in said
        assert SECRET not in said
        assert all(isinstance(orjson.loads(line), dict) for line in said.splitlines())
        return body


@pytest.fixture(scope="module")
def service(mongodb: str, running: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder, port = tmp_path_factory.mktemp("bad-queries"), free_port()
    environment = os.environ | {
        "DARKROOM_MONGODB": mongodb,
        "DARKROOM_MONGODB_DATABASE": running.database.name,
        "DARKROOM_QUERY_PORT": str(port),
        "DARKROOM_BLOBS": f"file://{folder}/blobs",
        "DARKROOM_DATA": str(folder),
    }
    log = Log(running.database, running.blobs)
    log.begin()
    job = log.create()
    base = f"http://127.0.0.1:{port}"
    with open(folder / "log", "wb") as output, httpx.Client(base_url=base, timeout=20) as client:
        process = subprocess.Popen(
            [sys.executable, "-m", "darkroom.query_api"], env=environment, stderr=output, stdout=output
        )
        try:
            until = monotonic() + _START_TIMEOUT_S
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    if client.get("/health/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert monotonic() < until, (folder / "log").read_text()
                Event().wait(0.05)
            client.base_url = httpx.URL(base + "/api/v1/inference")
            yield Process(client, process, folder / "log", job)
        finally:
            process.kill()
            process.wait(5)


JOBS = {
    "an operator": ("status[$ne]=", "?status[$ne]"),
    "an operator that is not one": ("$where=sleep(9)", "?$where"),
    "sort": ("sort=$where", "?sort"),
    "a dotted name": ("model.name=m", "?model.name"),
    "a key": ("api_key=" + SECRET, "?api_key"),
    "status of no kind": ("status=" + SECRET, "?status"),
    "status as JSON": ('status={"$ne":null}', "?status"),
    "limit 0": ("limit=0", "?limit"),
    "limit -1": ("limit=-1", "?limit"),
    "limit 10^9": ("limit=1000000000", "?limit"),
    "limit of 400 digits": ("limit=" + "9" * 400, "?limit"),
    "limit 1e2": ("limit=1e2", "?limit"),
    "limit in other digits": ("limit=%D9%A1", "?limit"),
    "limit twice": ("limit=1&limit=2", "?limit"),
    "wait 10^9": ("wait=1000000000", "?wait"),
    "wait NaN": ("wait=NaN", "?wait"),
    "a cursor too long": ("cursor=" + "A" * 401, "?cursor"),
    "a regular expression in id": ("id=(a%2B)%2B$", "?id"),
    "an id with a line break": ("id=01%0A", "?id"),
    "a time that is none": ("created_from=" + SECRET, "?created_from"),
    "a time before all": ("created_to=0001-01-01T00:00:00%2B23:00", "?created_to"),
    "a label without a colon": ("label=" + SECRET, "?label"),
    "nine labels": ("&".join(["label=a:b"] * 9), "?label"),
    "33 positions": ("&".join(["after=" + SECRET] * 33), "?after"),
    "1,000 names": ("&".join(f"n{n}=1" for n in range(1000)), "?n"),
}


@pytest.mark.parametrize("case", JOBS)
def test_queries_of_the_list(service: Process, case: str) -> None:
    query, pointer = JOBS[case]
    body = service.check_refused("/jobs?" + query, 422, "invalid-request")
    assert any(entry["pointer"].startswith(pointer) for entry in body["errors"]), body["errors"]
    assert len(body["errors"]) <= 50


POSITIONS = ["x", "%00", "e30", "W10", "MS4wLjA", "MS4tMS4wLng", SECRET, "1.0.0.x", "%C3%A9", "$gt"]


@pytest.mark.parametrize("token", POSITIONS)
@pytest.mark.parametrize(
    "path", ["/jobs?cursor=", "/jobs?after=", "/jobs/{job}?after=", "/jobs/{job}/events?cursor="]
)
def test_forged_positions(service: Process, path: str, token: str) -> None:
    service.check_refused(path + token, 400, "malformed-position")


@pytest.mark.parametrize(
    "path",
    [
        "/jobs",
        "/jobs/{job}",
        "/jobs/{job}/runs",
        "/jobs/{job}/runs/1",
        "/jobs/{job}/events",
        "/jobs/{job}/inputs/0",
        "/jobs/{job}/inputs/0/annotated",
        "/events",
        "/models",
        "/models/m",
        "/stats",
        "/projections",
    ],
)
@pytest.mark.parametrize("query", ["api_key=" + SECRET, "$where=1", "%00=1"])
def test_no_call_takes_an_unknown_parameter(service: Process, path: str, query: str) -> None:
    service.check_refused(f"{path}?{query}", 422, "invalid-request")


@pytest.mark.parametrize(
    "job",
    [
        "01a20358-c62f-719b-bef6-9388141fe538",
        "x",
        SECRET,
        "%00",
        "%ff",
        "..%5cx",
        '{"$ne":null}',
        "$where",
        "{job}%0a",
        "{job}x",
        "urn:uuid:{job}",
        "0" * 5000,
    ],
)
@pytest.mark.parametrize("suffix", ["", "/runs", "/runs/1", "/events", "/inputs/0", "/inputs/0/annotated"])
def test_ids_that_are_none(service: Process, job: str, suffix: str) -> None:
    service.check_refused(f"/jobs/{job}{suffix}", 404, "unknown-job")


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/",
        "//jobs",
        "/jobs/../../x",
        "/jobs/..%2f..%2fx",
        "/jobs/{job}/runs/0x1",
        "/jobs/{job}/runs/-1",
        "/jobs/{job}/runs/99999999999999999999",
        "/jobs/{job}/inputs/99999999999999999999",
        "/nope/" + SECRET,
        "/problems/..%2fx",
        "/ui/..%2f..%2fx",
    ],
)
def test_paths(service: Process, path: str) -> None:
    service.check_refused(path, 404, "not-found")


@pytest.mark.parametrize("name", ["nope", SECRET, "%00", "..%5cx", '{"$gt":""}', "m" * 5000])
def test_unknown_models(service: Process, name: str) -> None:
    service.check_refused("/models/" + name, 404, "unknown-model")
