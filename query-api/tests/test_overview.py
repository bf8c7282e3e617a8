"""Models, statistics, projections, the document, and a database that is away."""

import threading
from time import monotonic
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from darkroom.query_api import bodies
from darkroom.query_api.app import make_query_app
from darkroom.query_api.live import Watcher
from darkroom.query_api.store import Store
from darkroom.runtime.ids import Position, new_id
from darkroom.schemas import views


def test_models_with_their_labels(service: Any) -> None:
    service.log.register_model("shapes", ["circle", "star"])
    service.log.register_model("animals", ["cat"])
    body = service.json("/models")
    assert [m["name"] for m in body["items"]] == ["animals", "shapes"]
    assert not bodies.ModelList().validate(body)
    one = service.json("/models/shapes")
    assert one == body["items"][1]
    version = one["versions"][0]
    assert (version["labels"], version["status"], version["digest"][:8]) == (
        ["circle", "star"],
        "active",
        "sha256:a",
    )
    problem = service.json("/models/none", 404)
    assert problem["type"] == "urn:darkroom:problem:unknown-model"


def test_a_label_map_that_is_gone_is_null(service: Any) -> None:
    service.log.register_model("shapes", ["circle"])
    service.log.database.models_g1.update_one(
        {"_id": "shapes"}, {"$set": {"versions.0.labels.digest": "sha256:" + "0" * 64}}
    )
    assert service.json("/models/shapes")["versions"][0]["labels"] is None


def test_models_wait_for_positions_of_their_own_log(service: Any) -> None:
    coming = Position("models-topic-id", 0, 0).token()
    assert service.json(f"/models?after={coming}&wait=0", 503)["type"].endswith("read-model-behind")
    service.log.database.checkpoints.update_one({"_id": "models:g1:p0"}, {"$set": {"next": 1}})
    assert service.json(f"/models?after={coming}&wait=0")
    assert service.json(f"/models?after={Position('jobs-topic-id', 0, 0).token()}&wait=0", 400)


def test_stats(service: Any) -> None:
    for _ in range(2):
        service.log.create()
    service.log.event(service.log.create(), "execution-failed")
    for partition in (0, 1):
        service.log.database.stats_g1.insert_one(
            {
                "_id": f"h|default|shapes@1|p{partition}",
                "tenant": "default",
                "partition": partition,
                "hour": service.log.tick(),
                "model": "shapes",
                "model_version": "1",
                "events": {"created": 2, "execution-failed": partition},
                "void": 1,
                "finished": 2,
                "queued_ms": 10.0,
                "running_ms": 40.0,
                "inference_ms": 8.0,
            }
        )
    body = service.json("/stats")
    assert not bodies.Stats().validate(body)
    assert body["jobs"]["total"] == 3
    assert body["jobs"]["by_status"] | {"queued": 2, "failed": 1} == body["jobs"]["by_status"]
    model = body["models"][0]
    assert (model["events"]["created"], model["events"]["execution-failed"], model["void"]) == (4, 1, 2)
    assert model["mean_ms"] == {"queued": 5.0, "running": 20.0, "inference": 4.0}
    assert service.json("/stats?since=2030-01-01T00:00:00Z")["models"] == []


def test_projections(service: Any) -> None:
    service.log.create()
    service.log.database.jobs_quarantine_g1.insert_one({"_id": "darkroom.jobs.v1:p0:7"})
    service.log.database.jobs_quarantine_g2.insert_one({"_id": "darkroom.jobs.v1:p0:7"})  # not the live generation
    service.log.database.checkpoints.update_one({"_id": "jobs:g1:p3"}, {"$inc": {"end_seen": 5}})
    body = service.json("/projections")
    assert not bodies.ProjectionList().validate(body)
    found = {p["read_model"]: p for p in body["items"]}
    assert tuple(found) == views.READ_MODELS
    assert {p["read_model"]: p["family"] for p in body["items"]} == views.FAMILY_OF
    for name in views.JOB_READ_MODELS:
        assert (found[name]["generation"], found[name]["lag"], found[name]["quarantined"]) == (1, 5, 1)
        assert found[name]["fold_version"] == views.FOLD_VERSIONS[name]
    assert (found["models"]["quarantined"], found["models"]["lag"]) == (0, 0)
    assert sum(p["next"] for p in found["jobs"]["partitions"]) == 1
    assert found["jobs"]["partitions"][0]["end_seen_at"] == "2026-11-22T10:00:00.000Z"


def test_the_document_is_complete(service: Any) -> None:
    document = service.json("/openapi.json")
    OpenAPIV31SpecValidator(document).validate()
    paths = {p.removeprefix("/api/v1/inference") for p in document["paths"]}
    assert paths == {
        "/jobs",
        "/jobs/{job}",
        "/jobs/{job}/runs",
        "/jobs/{job}/runs/{run}",
        "/jobs/{job}/events",
        "/jobs/{job}/inputs/{index}",
        "/jobs/{job}/inputs/{index}/annotated",
        "/events",
        "/models",
        "/models/{name}",
        "/stats",
        "/projections",
    }
    for path, item in document["paths"].items():
        operation = item["get"]
        assert operation["summary"], path
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                assert media_type.startswith("image/") or "example" in content or "examples" in content, (
                    path,
                    status,
                )
            assert answer["description"], (path, status)
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, (path, status)
        for parameter in [*item.get("parameters", []), *operation.get("parameters", [])]:
            assert parameter["in"] == "path" or parameter.get("description"), (path, parameter["name"])
            assert "schema" in parameter


def test_examples_fit_their_schemas() -> None:
    from darkroom.query_api import examples

    for schema, example in (
        (bodies.Job(), examples.JOB),
        (bodies.JobList(), examples.JOBS),
        (bodies.Run(), examples.RUN),
        (bodies.RunList(), examples.RUNS),
        (bodies.EventList(), examples.EVENTS),
        (bodies.ModelList(), examples.MODELS),
        (bodies.Stats(), examples.STATS),
        (bodies.ProjectionList(), examples.PROJECTIONS),
    ):
        assert not schema.validate(example), schema


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_only_get_is_allowed(service: Any, method: str) -> None:
    answer = getattr(service.client, method)("/api/v1/inference/jobs")
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert "GET" in answer.headers["Allow"]


def test_readiness_waits_for_a_projector(service: Any) -> None:
    assert service.client.get("/health/ready").status_code == 200
    service.log.database.generations.delete_many({})
    service.store._aliases.clear()
    answer = service.client.get("/health/ready")
    assert (answer.status_code, answer.json["type"]) == (503, "urn:darkroom:problem:not-ready")
    problem = service.json("/jobs", 503)
    assert problem["type"] == "urn:darkroom:problem:store-unavailable"


def test_without_its_database_it_says_so_in_time(service: Any) -> None:
    store = Store("mongodb://127.0.0.1:9/?directConnection=true", "none", 0.15)
    watcher = Watcher(store, threading.Event())
    client = make_query_app(service.settings, store, service.log.blobs, watcher).test_client()
    watcher.start()
    try:
        for path in ("/jobs", f"/jobs/{new_id()}", "/models", "/stats", "/projections", "/events"):
            begun = monotonic()
            answer = client.get(f"/api/v1/inference{path}")
            assert monotonic() - begun < 2
            assert (answer.status_code, answer.json["type"]) == (503, "urn:darkroom:problem:store-unavailable")
            assert answer.headers["Retry-After"]
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
    finally:
        watcher.stop()
        store.close()
