"""Bad pictures, and odd but good ones, against the running service."""

import json
import struct
import zlib
from dataclasses import asdict
from io import BytesIO

import pytest
from PIL import Image

from darkroom.runtime.blobs import digest_of
from darkroom.schemas.job import Created
from darkroom.schemas.wire import read_envelope, read_guard

from .running import (
    DESCRIPTION,
    SECRET,
    TFLITE,
    Running,
    data_url,
    job,
    part,
    picture,
    post_json,
    request,
    send_form,
)

S = SECRET.encode()
_GPS, _LATITUDE, _SATELLITES = 0x8825, 2, 8
_ORIENTATION = 0x0112


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *more: bytes) -> bytes:
    """A PNG whose header says that size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(more)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header says that size."""
    data = picture("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def container(kind: bytes) -> bytes:
    return b"\0\0\0\x20ftyp" + kind + b"\0" * 4 + S * 4


NO_PICTURES = {
    "text": b"hello " + S,
    "text like a BMP": b"BMW " + S * 20,
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>' + S + b"</script></svg>",
    "SVG with its declaration": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg/>',
    "HTML": b"<!doctype html><script>" + S + b"</script>",
    "TIFF": b"II*\0" + S * 4,
    "TIFF, big-endian": b"MM\0*" + S * 4,
    "AVIF": container(b"avif"),
    "HEIC": container(b"heic"),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + S * 4,
    "a video": container(b"isom"),
    "PDF": b"%PDF-1.7\n" + S,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(" + S + b") print",
    "an icon": b"\0\0\1\0\1\0" + S * 4,
    "PSD": b"8BPS\0\1" + S * 4,
    "PPM": b"P6 8 8 255 " + S * 8,
    "a FLI": b"\x2c\0\0\0\x12\xaf" + S * 8,
    "a ZIP archive": b"PK\3\4" + S * 4,
    "a gzip archive": b"\x1f\x8b\x08\0" + S * 4,
    "a program": b"\x7fELF" + S * 4,
    "a model": TFLITE,
    "a sound in RIFF": b"RIFF\x40\0\0\0WAVE" + S * 4,
    "NUL": bytes(1000),
    "one byte": b"\xff",
    "a PNG behind a blank": b" " + picture(),
}
BROKEN = {
    "empty": b"",
    "a PNG cut off": picture(size_px=(200, 200))[:-40],
    "a PNG's first bytes": picture()[:8],
    "a PNG's header": picture()[:20],
    "a PNG with a bad checksum": picture()[:29] + b"\0\0\0\0" + picture()[33:],
    "a PNG without pixels": png_of(0, 8),
    "a PNG with its data missing": png_of(200, 200),
    "a PNG with a bomb of a text": png_of(
        8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000, 9)), chunk(b"tEXt", b"b\0" + S)
    ),
    "a PNG with a bomb of a profile": png_of(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 80_000_000, 9))),
    "a JPEG cut off": picture("JPEG", (200, 200))[:-200],
    "a JPEG's first bytes": b"\xff\xd8\xff" + S,
    "a JPEG without pixels": jpeg_of(0, 0),
    "a GIF's first bytes": b"GIF89a" + S,
    "a GIF cut off": picture("GIF", (200, 200))[:-20],
    "a WebP's first bytes": b"RIFF\x40\0\0\0WEBP" + S,
    "a WebP cut off": picture("WEBP", (200, 200))[:60],
    "a BMP cut off": picture("BMP", (200, 200))[:-40],
    "a BMP with a palette beyond its end": b"BM" + bytes(8) + b"\x36\0\0\0" + b"\x28\0\0\0" + b"\xff" * 36,
}
TOO_LARGE = {
    "a PNG's header of 2^31": png_of(2**31 - 1, 2**31 - 1),
    "a PNG's header of 20,000": png_of(20_000, 20_000),
    "a PNG of 2,000": picture("PNG", (2000, 2000), "1"),
    "a PNG of one long line": picture("PNG", (1_000_001, 1), "1"),
    "a JPEG's header of 65,500": jpeg_of(65_500, 65_500),
    "a GIF's header of 65,535": b"GIF89a\xff\xff\xff\xff" + picture("GIF")[10:],
    "a GIF of many colours": picture("GIF", (2000, 2000), "P"),
    "a BMP's header of 2^31": picture("BMP")[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + picture("BMP")[26:],
    "a WebP's header of 2^24": b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + b"\xff" * 6 + S,
    "a WebP of 2,000": picture("WEBP", (2000, 2000), lossless=True),
}
PICTURES: dict[str, tuple[bytes, int, str]] = {
    **{case: (data, 415, "unsupported-media") for case, data in NO_PICTURES.items()},
    **{case: (data, 422, "picture-broken") for case, data in BROKEN.items()},
    **{case: (data, 413, "picture-too-large") for case, data in TOO_LARGE.items()},
}
WAYS = {
    "raw": lambda data: request("POST", "/media", "Content-Type: image/png", body=data),
    "a file": lambda data: send_form("/media", part("file", data, SECRET + ".png", "Content-Type: image/png")),
    "base64": lambda data: post_json("/jobs", job(inputs=[{"data": data_url(data)}])),
    "a job's file": lambda data: send_form("/jobs", part("model", "m"), part("file", data, SECRET + ".png")),
}


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("way", WAYS)
def test_refused(running: Running, case: str, way: str) -> None:
    data, status, name = PICTURES[case]
    answer = running.check_refused(WAYS[way](data), status, name)
    pointers = {"base64": ["#/inputs/0/data"], "a job's file": ["#/file/0"]}
    assert [entry["pointer"] for entry in answer.json.get("errors", [])] == pointers.get(way, [])


def test_the_second_of_two(running: Running) -> None:
    inputs = [{"data": data_url(picture())}, {"data": data_url(BROKEN["a PNG cut off"])}]
    answer = running.check_refused(post_json("/jobs", job(inputs=inputs)), 422, "picture-broken")
    assert [entry["pointer"] for entry in answer.json["errors"]] == ["#/inputs/1/data"]


@pytest.mark.parametrize("data", [TFLITE, json.dumps(DESCRIPTION["labels"], separators=(",", ":")).encode()])
def test_the_files_of_a_model_are_no_pictures(running: Running, data: bytes) -> None:
    """Model file and label map are in the same store, but no job can be made of their digests."""
    digest = digest_of(data)
    assert (running.folder / "blobs" / "sha256" / digest[7:9] / digest[9:]).is_file()
    running.check_refused(post_json("/jobs", job(inputs=[{"media": digest}])), 422, "unknown-media")


def with_exif(form: str = "JPEG", orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET
    if orientation is not None:
        exif[_ORIENTATION] = orientation
    place = exif.get_ifd(_GPS)
    place[1], place[_LATITUDE], place[_SATELLITES] = "N", (52.0, 31.0, 12.3456), SECRET
    return picture(form, (8, 6), exif=exif)


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (0, 100, 200)]
    content = BytesIO()
    frames[0].save(content, form, save_all=True, append_images=frames[1:], duration=40)
    return content.getvalue()


GOOD: dict[str, tuple[bytes, str, tuple[int, int]]] = {
    "JPEG": (picture("JPEG"), "image/jpeg", (8, 6)),
    "a progressive JPEG": (picture("JPEG", progressive=True), "image/jpeg", (8, 6)),
    "PNG": (picture("PNG"), "image/png", (8, 6)),
    "BMP": (picture("BMP"), "image/bmp", (8, 6)),
    "GIF": (picture("GIF"), "image/gif", (8, 6)),
    "WebP": (picture("WEBP"), "image/webp", (8, 6)),
    "WebP without loss": (picture("WEBP", lossless=True), "image/webp", (8, 6)),
    "an animated GIF": (animated("GIF"), "image/gif", (8, 6)),
    "an animated WebP": (animated("WEBP"), "image/webp", (8, 6)),
    "an animated PNG": (animated("PNG"), "image/png", (8, 6)),
    "CMYK": (picture("JPEG", mode="CMYK"), "image/jpeg", (8, 6)),
    "16 bits": (picture("PNG", mode="I;16"), "image/png", (8, 6)),
    "RGBA": (picture("PNG", mode="RGBA"), "image/png", (8, 6)),
    "grey with alpha": (picture("PNG", mode="LA"), "image/png", (8, 6)),
    "a palette": (picture("PNG", mode="P"), "image/png", (8, 6)),
    "a palette with transparency": (picture("PNG", mode="P", transparency=0), "image/png", (8, 6)),
    "one bit": (picture("PNG", mode="1"), "image/png", (8, 6)),
    "1×1": (picture("PNG", (1, 1)), "image/png", (1, 1)),
    "a JPEG of 1×1": (picture("JPEG", (1, 1)), "image/jpeg", (1, 1)),
    "the largest": (picture("PNG", (1000, 1000)), "image/png", (1000, 1000)),
    "turned by EXIF": (with_exif(orientation=6), "image/jpeg", (6, 8)),
    "turned round by EXIF": (with_exif(orientation=3), "image/jpeg", (8, 6)),
    "an orientation that there is not": (with_exif(orientation=99), "image/jpeg", (8, 6)),
    "a PNG turned by EXIF": (with_exif("PNG", orientation=8), "image/png", (6, 8)),
    "EXIF with a place": (with_exif(), "image/jpeg", (8, 6)),
    "WebP with a place": (with_exif("WEBP"), "image/webp", (8, 6)),
    "a JPEG that is HTML too": (picture("JPEG") + b"<html><script>" + S + b"</script>", "image/jpeg", (8, 6)),
    "a GIF that is a script too": (picture("GIF") + b"/*" + S + b"*/", "image/gif", (8, 6)),
    "a PNG that is a ZIP too": (picture("PNG") + b"PK\5\6" + bytes(18), "image/png", (8, 6)),
    "a broken profile": (picture("PNG", icc_profile=S), "image/png", (8, 6)),
}


@pytest.mark.parametrize("case", GOOD)
def test_accepted(running: Running, case: str) -> None:
    """With what the contract says of them in the event, and with nothing of their metadata."""
    data, media_type, (width_px, height_px) = GOOD[case]
    since = running.log_size_bytes
    kept = running.send(WAYS["raw"](data))
    assert kept.status == 201, kept.body
    media = kept.json
    assert media["media_type"] == media_type
    assert (media["width_px"], media["height_px"]) == (width_px, height_px)
    assert set(media) == {"digest", "media_type", "size_bytes", "width_px", "height_px"}
    answer = running.send(post_json("/jobs", job(inputs=[{"data": data_url(data)}], labels=None)))
    assert answer.status == 202, answer.body
    record = running.record_of(answer)
    event = read_envelope(read_guard(record.key, record.headers), record.value, record.headers).event
    assert isinstance(event, Created)
    assert [asdict(item) for item in event.spec.inputs] == [media]
    assert S not in (record.value or b"")
    assert not [name for name, value in record.headers if S in (value or b"")]
    assert SECRET not in running.logged(since)
