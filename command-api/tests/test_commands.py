"""Accepted commands: what they answer, and what then stands in the log."""

import base64
import io
import json
from uuid import UUID, uuid4

import pytest
from PIL import Image

from darkroom.runtime.blobs import digest_of
from darkroom.runtime.http.api import PREFIX
from darkroom.runtime.ids import Position, job_id_of
from darkroom.schemas import job

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _png(size_px=(8, 6)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size_px).save(content, "PNG")
    return content.getvalue()


def test_the_answer_to_a_create(door):
    digest = door.upload(_png())
    answer = door.post("/jobs", {"model": "m", "inputs": [{"media": digest}]}, headers={"Traceparent": TRACE})
    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    body = answer.json
    job_id = body["id"]
    assert UUID(job_id).version == 7
    assert (body["status"], body["version"], body["run"]) == ("queued", 1, 1)
    get = f"http://query.test{PREFIX}/jobs/{job_id}"
    assert body["urls"] == {
        "get": get,
        "result": f"{get}?after={body['position']}",
        "events": f"{get}/events",
        "web": f"http://query.test/jobs/{job_id}",
        "cancel": f"http://command.test{PREFIX}/jobs/{job_id}/cancel",
    }
    assert answer.headers["Location"] == body["urls"]["result"]
    assert Position.parse(body["position"]).topic_id == "jobs-topic"

    (event,) = door.events(job_id)
    assert event.guard.type == "darkroom.job.created.v1"
    assert event.attributes["traceparent"] == TRACE
    assert (event.attributes["actor"], event.guard.tenant) == ("anonymous", "default")
    spec = event.event.spec
    assert spec.inputs == (job.Media(digest, "image/png", len(_png()), 8, 6),)
    assert (spec.model.name, spec.model.version) == ("m", "1")
    assert spec.parameters == {"top_k": 5, "max_detections": 50}
    assert (spec.deadline_s, spec.max_attempts) == (60.0, 3)


def test_only_create(door):
    answer = door.post("/jobs", door.body(execute=False))
    assert (answer.json["status"], answer.json["run"]) == ("created", 0)


def test_three_forms_of_one_input_are_one_request(door):
    """Upload, data: URL and multipart file of the same bytes: the same hash under the same key."""
    name = str(uuid4())
    data, key = _png(), {"Idempotency-Key": name}
    body = {"model": "m", "parameters": {"top_k": 5}, "labels": {"a": "1"}, "deadline_s": 60}
    first = door.post("/jobs", {**body, "inputs": [{"media": door.upload(data)}]}, headers=key)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert door.post("/jobs", {**body, "inputs": [{"data": url}]}, headers=key).json == first.json
    form = {
        "model": "m",
        "labels": json.dumps(body["labels"]),
        "deadline_s": "60",
        "execute": "true",
        "file": (io.BytesIO(data), "../../etc/passwd%00<x>.png"),
    }
    assert door.client.post(PREFIX + "/jobs", data=form, headers=key).json == first.json
    assert first.json["id"] == job_id_of("default", name)
    assert len(door.events(first.json["id"])) == 1


def test_a_folder_of_files_keeps_its_order(door):
    files = [_png((size, 3)) for size in (9, 2, 5)]
    form = {"model": "m@1", "file": [(io.BytesIO(data), "x.png") for data in files]}
    answer = door.client.post(PREFIX + "/jobs", data=form)
    assert answer.status_code == 202, answer.json
    (event,) = door.events(answer.json["id"])
    assert [media.width_px for media in event.event.spec.inputs] == [9, 2, 5]


def test_a_picture_of_a_request_is_kept_and_its_text_is_not_in_the_log(door):
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "SECRET-PLACE"
    Image.new("RGB", (8, 6)).save(data, "JPEG", exif=exif)
    url = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
    answer = door.post("/jobs", {"model": "m", "inputs": [{"data": url}]})
    (event,) = door.events(answer.json["id"])
    (media,) = event.event.spec.inputs
    assert (media.width_px, media.height_px) == (6, 8), "upright"
    assert door.blobs.get(media.digest) == data.getvalue()
    (record,) = [r for r in door.records() if r.key == answer.json["id"].encode()]
    assert b"SECRET" not in record.value


def test_run_again_keeps_what_is_not_given(door):
    assert door.register("other", "2").status_code == 202
    job_id = door.create(parameters={"top_k": 3, "min_score": 0.5}, deadline_s=7)
    door.executor(job_id, job.Start(1, "e", 15.0), job.Succeed(1, 1, (), None, {}, {}))
    assert door.post(f"/jobs/{job_id}/runs").json["run"] == 2
    door.executor(job_id, job.Start(2, "e", 15.0), job.Succeed(2, 1, (), None, {}, {}))
    answer = door.post(f"/jobs/{job_id}/runs", {"model": "other", "parameters": {"top_k": 1}, "deadline_s": 9})
    assert (answer.json["run"], answer.json["version"]) == (3, 7)
    events = door.events(job_id)
    first, second, third = events[0].event.spec, events[3].event.spec, events[6].event.spec
    assert second == first
    assert (third.model.name, third.parameters, third.deadline_s) == (
        "other",
        {"top_k": 1, "max_detections": 50},
        9.0,
    )
    assert third.inputs == first.inputs


def test_the_newest_version_is_pinned(door):
    name = door.model()
    assert door.register(name, "2").status_code == 202
    (event,) = door.events(door.create(model=name))
    assert event.event.spec.model.version == "2"
    (event,) = door.events(door.create(model=f"{name}@1"))
    assert event.event.spec.model.version == "1"


def test_a_repetition_gets_its_first_answer_although_the_model_is_retired(door):
    name = door.model()
    body, key = door.body(model=name), {"Idempotency-Key": str(uuid4())}
    first = door.post("/jobs", body, headers=key)
    door.executor(first.json["id"], job.Start(1, "e", 15.0), job.Succeed(1, 1, (), None, {}, {}))
    run_key = {"Idempotency-Key": str(uuid4())}
    again = door.post(f"/jobs/{first.json['id']}/runs", headers=run_key)
    assert again.status_code == 202
    assert door.delete(f"/models/{name}/versions/1").status_code == 202
    assert door.post("/jobs", body, headers=key).json == first.json
    assert door.post(f"/jobs/{first.json['id']}/runs", headers=run_key).json == again.json
    fresh = door.post("/jobs", body)
    assert (fresh.status_code, fresh.json["type"]) == (422, "urn:darkroom:problem:model-retired")


def test_keys_of_any_visible_characters(door):
    answer = door.post("/jobs", door.body(), headers={"Idempotency-Key": str(uuid4()) + "!~" + "x" * 217})
    assert answer.status_code == 202


def test_put_takes_any_uuid_in_either_case(door):
    job_id = str(uuid4()).upper()
    body = door.body()
    answer = door.put(f"/jobs/{job_id}", body)
    assert answer.json["id"] == job_id.lower()
    assert door.put(f"/jobs/{job_id.lower()}", body).json == answer.json


def test_positions(door):
    answer = door.post("/jobs", door.body()).json
    own = Position.parse(answer["position"])
    items = {(i["topic"], i["partition"]): i for i in door.get("/positions").json["items"]}
    assert len(items) == 5
    held = items["darkroom.jobs.v1", own.partition]
    assert (held["position"], held["end_offset"]) == (answer["position"], own.offset + 1)
    assert items["darkroom.models.v1", 0]["end_offset"] == door.model_log.end_offset(0, 1)


@pytest.mark.parametrize("form", ["raw", "multipart", "curl"])
def test_uploads(door, form):
    data = _png()
    more = {
        "raw": {"data": data, "content_type": "image/png"},
        "multipart": {"data": {"file": (io.BytesIO(data), "x.txt", "text/html")}},
        "curl": {"data": data, "content_type": "application/x-www-form-urlencoded"},
    }[form]
    answer = door.client.post(PREFIX + "/media", **more)
    assert answer.status_code == 201
    assert answer.json == {
        "digest": digest_of(data),
        "media_type": "image/png",
        "size_bytes": len(data),
        "width_px": 8,
        "height_px": 6,
    }
    assert door.client.post(PREFIX + "/media", data=data).json == answer.json


def test_the_log_is_away(door):
    body, before = door.body(), len(door.records())
    door.job_log.available = False
    answer = door.post("/jobs", body)
    assert (answer.status_code, answer.json["type"]) == (503, "urn:darkroom:problem:log-unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert door.post("/jobs/00000000-0000-7000-8000-000000000000/cancel").status_code == 503, "no guess"
    assert door.client.get("/health/ready").status_code == 503
    assert door.client.get("/health/live").status_code == 200
    door.job_log.available = True
    assert door.client.get("/health/ready").status_code == 200
    assert len(door.records()) == before
    assert door.post("/jobs", body).status_code == 202


def test_commands_are_counted(door):
    job_id = door.create()
    door.post(f"/jobs/{job_id}/runs")
    metrics = door.client.get("/metrics").text
    assert 'darkroom_commands_total{command="create",outcome="accepted"}' in metrics
    assert 'darkroom_commands_total{command="run",outcome="job-state"}' in metrics
    assert 'route="/api/v1/inference/jobs/<job_id>/runs"' in metrics
