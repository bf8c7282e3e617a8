"""What the inputs of a job may have together. The rest of bad input is tested against the running service."""

import io
import random

from PIL import Image

from darkroom.runtime.ids import new_id
from darkroom.schemas import job


def test_the_inputs_of_a_job_are_limited_together(door):
    """One small enough picture, named as often as a job may have inputs."""
    size_px = (160, 120)
    noise = Image.frombytes("RGB", size_px, random.Random(1).randbytes(3 * size_px[0] * size_px[1]))
    content = io.BytesIO()
    noise.save(content, "PNG")
    data = content.getvalue()
    digest, fit = door.upload(data), 2**20 // len(data)
    before = len(door.records())
    answer = door.post("/jobs", {"model": "m", "inputs": [{"media": digest}] * (fit + 1)})
    assert (answer.status_code, answer.json["type"]) == (413, "urn:darkroom:problem:inputs-too-large")
    assert answer.json["errors"][0]["pointer"] == "#/inputs"
    assert str(2**20) in answer.json["detail"]
    assert len(door.records()) == before
    assert door.post("/jobs", {"model": "m", "inputs": [{"media": digest}] * fit}).status_code == 202


def test_a_run_of_inputs_from_before_the_limit(door):
    """A job that was created under a higher limit stays, but it is not run again."""
    media = job.Media(door.upload(), "image/png", 2**20 + 1, 8, 6)
    model = door.events(door.create())[0].event.spec.model
    job_id = new_id()
    spec = job.RunSpec(model, (media,), {"top_k": 5}, 60.0, 3)
    door.executor(job_id, job.Create(spec, {}, False))
    answer = door.post(f"/jobs/{job_id}/runs")
    assert (answer.status_code, answer.json["type"]) == (413, "urn:darkroom:problem:inputs-too-large")
    assert len(door.events(job_id)) == 1
    assert door.delete(f"/jobs/{job_id}").status_code == 202
    assert door.post(f"/jobs/{job_id}/runs").status_code == 410
