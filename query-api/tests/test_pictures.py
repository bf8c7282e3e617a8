"""Inputs as pictures: upright, re-encoded, annotated."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

RED = (229, 72, 77)  # the colour of class 0
BOX = {"label": "star", "class_index": 0, "score": 0.9, "box": [20, 30, 40, 30]}
FAINT = {"label": "moon", "class_index": 0, "score": 0.3, "box": [70, 10, 20, 20]}


def picture_of(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return Image.open(BytesIO(answer.data))


def plain(service: Any, kind: str = "PNG", colour: str = "white", **save: Any) -> tuple[str, bytes]:
    out = BytesIO()
    Image.new("RGB", (120, 80), colour).save(out, kind, **save)
    data = out.getvalue()
    return service.log.create(inputs=[service.log.upload(data, 120, 80)]), data


def test_an_input_is_re_encoded_and_never_raw(service: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stands on its side
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0)}  # GPS
    out = BytesIO()
    Image.new("RGB", (120, 80), "white").save(out, "JPEG", exif=exif)
    raw = out.getvalue() + b"<html><script>alert(1)</script>"
    job = service.log.create(inputs=[service.log.upload(raw, 80, 120)])
    answer = service.get(f"/jobs/{job}/inputs/0")
    picture = picture_of(answer)
    assert (picture.format, picture.size, answer.mimetype) == ("JPEG", (80, 120), "image/jpeg")
    assert not picture.getexif()
    assert b"script" not in answer.data
    again = service.get(f"/jobs/{job}/inputs/0", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("form", ["RGBA PNG", "P GIF", "L BMP", "RGB WEBP", "1 PNG"])
def test_other_formats_are_shown_as_png(service: Any, form: str) -> None:
    mode, kind = form.split()
    out = BytesIO()
    Image.new(mode, (20, 10)).save(out, kind)
    job = service.log.create(inputs=[service.log.upload(out.getvalue(), 20, 10)])
    assert picture_of(service.get(f"/jobs/{job}/inputs/0")).format == "PNG"


def test_boxes_are_drawn(service: Any) -> None:
    job, _ = plain(service)
    service.log.succeed(job, [{"input": 0, "kind": "detection", "detections": [BOX, FAINT]}])
    drawn = picture_of(service.get(f"/jobs/{job}/inputs/0/annotated"))
    assert [drawn.getpixel(p) for p in ((20, 45), (59, 45), (40, 59))] == [RED] * 3
    assert drawn.getpixel((40, 45)) == (255, 255, 255)  # inside
    assert drawn.getpixel((89, 25)) == RED
    only_sure = picture_of(service.get(f"/jobs/{job}/inputs/0/annotated?min_score=0.5"))
    assert only_sure.getpixel((20, 45)) == RED
    assert only_sure.getpixel((89, 25)) == (255, 255, 255)


@pytest.mark.parametrize(
    "result",
    [
        {"input": 0, "kind": "classification", "classes": [{"index": 1, "label": "star", "score": 0.9}]},
        {"input": 0, "error": {"type": "t", "title": "The picture cannot be decoded", "detail": ""}},
        {"input": 0, "kind": "detection", "detections": [BOX | {"box": [-9, -9, 500, 0], "label": "x\x00" * 300}]},
    ],
)
def test_every_kind_of_result_can_be_drawn(service: Any, result: dict[str, Any]) -> None:
    job, _ = plain(service)
    service.log.succeed(job, [result])
    drawn = picture_of(service.get(f"/jobs/{job}/inputs/0/annotated"))
    assert len(drawn.getcolors() or [1, 2]) > 1  # no longer all white


def test_the_picture_of_an_earlier_run(service: Any) -> None:
    job, _ = plain(service)
    service.log.succeed(job, [{"input": 0, "kind": "detection", "detections": [BOX]}])
    doc = service.log.jobs[job]
    doc["run"] = service.log.run(2, doc["model"], doc["inputs"], service.log.tick())
    service.log.event(job, "execution-requested")
    problem = service.json(f"/jobs/{job}/inputs/0/annotated", 409)
    assert (problem["type"], problem["job_status"]) == ("urn:darkroom:problem:job-state", "queued")
    assert picture_of(service.get(f"/jobs/{job}/inputs/0/annotated?run=1")).getpixel((20, 45)) == RED
    assert service.json(f"/jobs/{job}/inputs/0/annotated?run=3", 404)


def test_a_score_is_any_fraction_that_json_would_write(service: Any) -> None:
    job = service.log.create()
    for score in ("0.12260211067421659", "1e-05", "2.5E-7", "0", "1.0"):
        assert service.json(f"/jobs/{job}/inputs/0/annotated?min_score={score}", 409), score


def test_what_cannot_be_shown(service: Any) -> None:
    broken = service.log.upload(b"\x89PNG\r\n\x1a\n nothing more", 1, 1)
    gone = broken | {"digest": "sha256:" + "0" * 64}
    job = service.log.create(inputs=[broken, gone])
    assert service.json(f"/jobs/{job}/inputs/0", 422)["type"] == "urn:darkroom:problem:picture-broken"
    assert service.json(f"/jobs/{job}/inputs/1", 404)["type"] == "urn:darkroom:problem:not-found"
    assert service.json(f"/jobs/{job}/inputs/2", 404)
    assert service.json(f"/jobs/{job}/inputs/-1", 404)
    for query in ("min_score=2", "min_score=nan", "min_score=-1", "min_score=1e999", "run=0", "run=x", "x=1"):
        assert service.json(f"/jobs/{job}/inputs/0/annotated?{query}", 422)["errors"]
    assert service.json(f"/jobs/{job}/inputs/0?size=9", 422)["errors"]
