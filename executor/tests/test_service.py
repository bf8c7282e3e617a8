"""The executor as a process, against a real broker and real models: what it does, and what outlives its death."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from darkroom.runtime.settings import Settings
from darkroom.runtime.testing import World, settings_for
from darkroom.schemas import job

MODELS = Path(__file__).parents[2] / "models"
HEAVY_PICTURES = 400


@contextmanager
def executor(settings: Settings, data: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real executor process; ended with SIGTERM, which must give exit status 0 (unless it was killed)."""
    data.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "DARKROOM_KAFKA": settings.kafka,
        "DARKROOM_TOPIC_JOBS": settings.topic_jobs,
        "DARKROOM_TOPIC_MODELS": settings.topic_models,
        "DARKROOM_TOPIC_HEARTBEATS": settings.topic_heartbeats,
        "DARKROOM_PARTITIONS": str(settings.partitions),
        "DARKROOM_BLOBS": settings.blobs,
        "DARKROOM_DATA": str(data),
        **more,
    }
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "darkroom.executor"], env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert code in (0, -signal.SIGKILL), (data / "log").read_text()[-3000:]


@pytest.fixture
def world(kafka: str, unique_name: str, tmp_path: Path) -> Iterator[World]:
    world = World(settings_for(kafka, unique_name, tmp_path), MODELS / "bundled")
    yield world
    world.close()


@pytest.fixture
def picture() -> bytes:
    image = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 76, 76), fill="red")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_job_runs_to_its_result_with_full_provenance(world: World, picture: bytes, tmp_path: Path) -> None:
    model = world.register("shapes-classifier")
    with executor(world.settings, tmp_path / "executor"):
        job_id = world.submit(model, picture, picture)
        end = world.end_of(job_id).event
    assert world.types(job_id) == ["created", "execution-started", "execution-succeeded"]
    assert [entry["input"] for entry in end.results] == [0, 1]
    assert end.results[0]["kind"] == "classification"
    assert end.provenance["model"] == {"name": model.name, "version": model.version, "digest": model.digest}
    assert {"decode_ms", "inference_ms"} <= set(end.timing)


def test_the_attempts_of_a_killed_executor_expire_and_are_tried_again_while_there_are_any_left(
    world: World, picture: bytes, tmp_path: Path
) -> None:
    model = world.register("shapes-classifier")
    with executor(world.settings, tmp_path / "first", DARKROOM_LEASE_S="2") as first:
        jobs = [world.submit(model, *[picture] * HEAVY_PICTURES, max_attempts=attempts) for attempts in (3, 1)]
        for job_id in jobs:
            world.wait_for(job_id, lambda event: isinstance(event.event, job.ExecutionStarted))
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    with executor(world.settings, tmp_path / "second", DARKROOM_LEASE_S="2"):
        tried_again, given_up = (world.end_of(job_id).event for job_id in jobs)
    assert world.types(jobs[0]) == [
        "created",
        "execution-started",
        "attempt-expired",
        "execution-started",
        "execution-succeeded",
    ]
    assert tried_again.attempt == 2
    assert given_up.error.type == "urn:darkroom:problem:attempts-exhausted"


def test_a_frozen_executor_cannot_publish_over_its_successor(world: World, picture: bytes, tmp_path: Path) -> None:
    model = world.register("shapes-classifier")
    with executor(world.settings, tmp_path / "first", DARKROOM_LEASE_S="2") as first:
        job_id = world.submit(model, *[picture] * HEAVY_PICTURES)
        world.wait_for(job_id, lambda event: isinstance(event.event, job.ExecutionStarted))
        first.send_signal(signal.SIGSTOP)
        with executor(world.settings, tmp_path / "second", DARKROOM_LEASE_S="2"):
            end = world.end_of(job_id)
            first.send_signal(signal.SIGCONT)
            later = world.submit(model, picture)  # both are alive again: the next job still gets one result
            world.end_of(later)
    assert end.event.attempt == 2
    assert world.types(job_id).count("execution-succeeded") == 1
    assert world.types(later) == ["created", "execution-started", "execution-succeeded"]


def test_models_that_fail_end_their_runs_and_leave_the_executor_alive(
    world: World, picture: bytes, tmp_path: Path
) -> None:
    good = world.register("shapes-classifier")
    garbage = world.register("garbage", like="shapes-classifier", content=b"TFL3 but not a model" * 50)
    swapped = world.register("swapped", like="shapes-detector")
    blob = swapped.digest.removeprefix("sha256:")
    path = next(Path(world.settings.blobs.removeprefix("file://")).rglob(f"*{blob[2:]}"))
    path.chmod(0o600)
    path.write_bytes(b"another file")
    with executor(world.settings, tmp_path / "executor"):
        for model, problem in [(garbage, "model-invalid"), (swapped, "model-digest-mismatch")]:
            end = world.end_of(world.submit(model, picture)).event
            assert isinstance(end, job.ExecutionFailed)
            assert end.error.type == f"urn:darkroom:problem:{problem}", end.error
        slow = world.submit(good, *[picture] * HEAVY_PICTURES, deadline_s=0.05)
        assert world.end_of(slow).event.error.type == "urn:darkroom:problem:deadline-exceeded"
        last = world.end_of(world.submit(good, picture)).event
    assert isinstance(last, job.ExecutionSucceeded)


def test_a_cancel_stops_the_model(world: World, picture: bytes, tmp_path: Path) -> None:
    model = world.register("shapes-classifier")
    with executor(world.settings, tmp_path / "executor", DARKROOM_EXECUTOR_WORKERS="1"):
        job_id = world.submit(model, *[picture] * HEAVY_PICTURES * 3)
        world.wait_for(job_id, lambda event: isinstance(event.event, job.ExecutionStarted))
        world.command(job_id, job.Cancel())
        next_job = world.submit(model, picture)  # one worker: it gets its turn only when the first was stopped
        world.end_of(next_job)
    assert world.types(job_id) == ["created", "execution-started", "cancelled"]
