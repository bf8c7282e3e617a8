"""From POST to a readable result, through every service, on real Kafka, MongoDB and models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

PREPROCESSING = {
    "uint8": "raw",
    "none_uint8_full_size": "raw",
    "float_pm1": "minus-one-to-one",
    "float_01": "zero-to-one",
    "int8_minus128": "zero-to-one",
    "nchw_imagenet_int8": "imagenet",
}
KINDS = {"classification", "detection"}


def submit(commands: httpx.Client, model: str, *pictures: Path, **headers: str) -> dict[str, Any]:
    """The 202's body for a job on these pictures."""
    answer = commands.post(
        "/jobs",
        data={"model": model},
        files=[("file", (path.name, path.read_bytes())) for path in pictures],
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == answer.json()["urls"]["result"]
    body: dict[str, Any] = answer.json()
    return body


def result_of(queries: httpx.Client, accepted: dict[str, Any]) -> dict[str, Any]:
    """The job once its run has ended."""
    answer = queries.get(accepted["urls"]["result"], headers={"Prefer": "wait=60"})
    assert answer.status_code == 200, answer.text
    assert "wait" in answer.headers["Preference-Applied"]
    job: dict[str, Any] = answer.json()
    return job


def test_a_job_is_submitted_run_and_read_back(commands: httpx.Client, queries: httpx.Client, samples: Path) -> None:
    accepted = submit(commands, "shapes-detector", samples / "scene-1.jpg")
    assert (accepted["status"], accepted["version"], accepted["run"]) == ("queued", 1, 1)
    job = result_of(queries, accepted)
    assert (job["status"], job["version"], job["error"]) == ("succeeded", 3, None)
    truth = json.loads((samples / "expected.json").read_text())["pictures"]["scene-1.jpg"]["shapes"]
    found = [d["label"] for d in job["results"][0]["detections"] if d["score"] >= 0.5]
    assert sorted(found) == sorted(shape["label"] for shape in truth)

    events = queries.get(f"/jobs/{job['id']}/events").json()["items"]
    assert len(events) == 3


def test_the_same_key_gives_the_same_job_and_its_result_once(
    commands: httpx.Client, queries: httpx.Client, samples: Path
) -> None:
    first = submit(commands, "shapes-classifier", samples / "star.jpg", Idempotency_Key="whole-way-1")
    result_of(queries, first)
    again = submit(commands, "shapes-classifier", samples / "star.jpg", Idempotency_Key="whole-way-1")
    assert (again["id"], again["position"]) == (first["id"], first["position"])
    job = result_of(queries, again)
    assert (job["run"], job["version"]) == (1, 3)


def test_a_job_runs_again_with_another_model_and_keeps_both_runs(
    commands: httpx.Client, queries: httpx.Client, samples: Path
) -> None:
    first = result_of(queries, submit(commands, "shapes-classifier", samples / "heart.jpg"))
    answer = commands.post(f"/jobs/{first['id']}/runs", json={"model": "shapes-detector"})
    assert answer.status_code == 202, answer.text
    second = result_of(queries, answer.json())
    assert (second["run"], second["model"]["name"]) == (2, "shapes-detector")
    runs = queries.get(f"/jobs/{first['id']}/runs").json()["items"]
    assert [run["model"]["name"] for run in sorted(runs, key=lambda run: int(run["run"]))] == [
        "shapes-classifier",
        "shapes-detector",
    ]


def test_a_deleted_job_is_gone_and_leaves_a_tombstone(
    commands: httpx.Client, queries: httpx.Client, samples: Path
) -> None:
    job = result_of(queries, submit(commands, "shapes-classifier", samples / "arrow.jpg"))
    answer = commands.delete(f"/jobs/{job['id']}")
    assert answer.status_code == 202, answer.text
    gone = queries.get(f"/jobs/{job['id']}", params={"after": answer.json()["position"]})
    assert gone.status_code == 410
    assert commands.post(f"/jobs/{job['id']}/runs", json={}).status_code == 410


@pytest.fixture(scope="module")
def real_models(
    darkroom: Callable[..., str], testdata: Path, expected: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Every model of the test data of the two kinds, added as a user would add it."""
    models = {name: model for name, model in expected["models"].items() if model["kind"] in KINDS}
    for name, model in models.items():
        darkroom(
            "models", "add", str(testdata / model["path"]), "--name", name,
            "--labels", str(testdata / model["labels"]),
            "--preprocessing", PREPROCESSING[model["preprocessing"]],
        )  # fmt: skip
    return models


def test_every_real_model_runs_through_the_services_and_agrees(
    commands: httpx.Client,
    queries: httpx.Client,
    testdata: Path,
    expected: dict[str, Any],
    real_models: dict[str, dict[str, Any]],
) -> None:
    assert len(real_models) == 13
    submitted = []
    for name, model in real_models.items():
        stable = [row for row in expected["results"] if row.get("model") == name and _is_stable(row, model["kind"])]
        rows = stable[:3]
        assert len(rows) == 3, name
        submitted.append((name, rows, submit(commands, name, *[testdata / row["image"] for row in rows])))
    for name, rows, accepted in submitted:
        job = result_of(queries, accepted)
        assert job["status"] == "succeeded", (name, job["error"])
        for row, result in zip(rows, job["results"], strict=True):
            if result["kind"] == "classification":
                top = result["classes"][0]
                low, high = row["top1_score_range"]
                assert top["label"] == row["top5"][0]["label"], (name, row["image"])
                assert low - 0.0005 <= top["score"] <= high + 0.0005, (name, row["image"], top)
            else:
                wanted = {d["label"] for d in row["detections"] if d.get("stable", d["score"] >= 0.45)}
                assert wanted <= {d["label"] for d in result["detections"]}, (name, row["image"])


def _is_stable(row: dict[str, Any], kind: str) -> bool:
    if "#" in row["image"]:
        return False
    if kind == "classification":
        return bool(row["stable_top1"])
    return any(d.get("stable", d["score"] >= 0.45) for d in row["detections"])
