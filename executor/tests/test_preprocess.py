"""Pictures of every kind become the tensor that the description asks for, or a named error."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.executor import preprocess
from darkroom.executor.description import InputSpec, Normalization
from darkroom.executor.outcomes import RunRequest, Succeeded
from darkroom.executor.pool import ChildPool
from darkroom.executor.problems import PictureError
from darkroom.executor.tensors import Quantization

RAW = InputSpec(2, 2, "NHWC", "uint8", None)


def encoded(image: Image.Image, form: str = "PNG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **more)
    return buffer.getvalue()


def png_with_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("image", "form", "pixel"),
    [
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "PNG", [10, 20, 30]),
        (Image.new("P", (2, 2), 0), "PNG", [0, 0, 0]),
        (Image.new("LA", (2, 2), (77, 255)), "PNG", [77, 77, 77]),
        (Image.new("1", (2, 2), 1), "PNG", [255, 255, 255]),
        (Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)), "PNG", [128, 128, 128]),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 0)), "JPEG", [255, 255, 255]),
        (Image.new("RGB", (2, 2), (1, 2, 3)), "BMP", [1, 2, 3]),
    ],
    ids=["rgba", "palette", "grey-alpha", "bilevel", "grey-16", "cmyk", "bmp"],
)
def test_every_mode_becomes_rgb(image: Image.Image, form: str, pixel: list[int]) -> None:
    tensor = preprocess.to_tensor(preprocess.decode(encoded(image, form)), RAW, None)
    assert tensor.shape == (1, 2, 2, 3)
    assert tensor.dtype == np.uint8
    assert tensor[0, 0, 0].tolist() == pixel


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(orientation: int) -> None:
    upright = np.zeros((2, 3, 3), np.uint8)
    upright[0, 0] = 255  # a white corner, top left of the upright picture
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = preprocess.decode(encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif))
    assert image.size == (3, 2)
    assert np.array_equal(np.asarray(image), upright)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    image = preprocess.decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (9_600, 11_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)]
)
def test_a_picture_that_is_too_large_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(PictureError) as caught:
        preprocess.decode(png_with_header(width, height))
    assert caught.value.problem.type == "urn:darkroom:problem:picture-too-large"
    with pytest.raises(PictureError, match="at most 3 are decoded"):
        preprocess.decode(encoded(Image.new("RGB", (2, 2))), pixels_max=3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff\xe0",
        encoded(Image.new("RGB", (9, 9), "red"))[:50],
        encoded(Image.new("RGB", (9, 9), "red"), "TIFF"),
        b"GIF89a" + b"\xff" * 40,
        b"RIFF\x10\x00\x00\x00WEBPVP8 \x00\x00",
    ],
    ids=["empty", "svg", "jpeg-start", "png-cut", "tiff", "gif-rubbish", "webp-cut"],
)
def test_what_is_no_picture_is_named_broken(content: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        preprocess.decode(content)
    assert caught.value.problem.type == "urn:darkroom:problem:picture-broken"


def test_a_mutated_picture_is_decoded_or_named_broken_and_nothing_else() -> None:
    noise = np.random.default_rng(7).integers(0, 255, (24, 24, 3), np.uint8)
    rng = np.random.default_rng(11)
    decoded, kinds = 0, set()
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        whole = encoded(Image.fromarray(noise), form)
        for _ in range(60):
            content = bytearray(whole)
            for at in rng.integers(0, len(whole), 6):
                content[at] = rng.integers(0, 256)
            try:
                decoded += preprocess.decode(bytes(content)).mode == "RGB"
            except PictureError as error:
                kinds.add(error.problem.type.rpartition(":")[2])
    assert decoded > 50
    assert "picture-broken" in kinds
    assert kinds <= {"picture-broken", "picture-too-large"}


def test_normalization_layout_and_quantization() -> None:
    image = Image.fromarray(np.array([[[0, 127, 255]]], np.uint8))
    one = Normalization((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
    tensor = preprocess.to_tensor(image, InputSpec(1, 1, "NHWC", "float32", one), None)
    assert tensor.dtype == np.float32
    assert tensor.reshape(-1).tolist() == pytest.approx([-1.0, -0.0039216, 1.0], abs=1e-6)
    shifted = preprocess.to_tensor(image, InputSpec(1, 1, "NHWC", "int8", None), None)
    assert shifted.reshape(-1).tolist() == [-128, -1, 127]
    unit = Normalization((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    stored = preprocess.to_tensor(image, InputSpec(1, 1, "NHWC", "int8", unit), Quantization(1 / 255, -128))
    assert stored.reshape(-1).tolist() == [-128, -1, 127]
    clipped = preprocess.to_tensor(image, InputSpec(1, 1, "NCHW", "int8", unit), Quantization(0.001, 0))
    assert clipped.shape == (1, 3, 1, 1)
    assert clipped.reshape(-1).tolist() == [0, 127, 127]


def test_without_a_size_the_picture_keeps_its_own() -> None:
    tensor = preprocess.to_tensor(Image.new("RGB", (7, 5)), InputSpec(None, None, "NHWC", "uint8", None), None)
    assert tensor.shape == (1, 5, 7, 3)


def test_the_edge_pictures_in_a_real_child(
    pool: ChildPool, request_for: Callable[..., RunRequest], testdata: Path
) -> None:
    edge = [f"images/edge/elephants{suffix}.jpg" for suffix in ("", "_exif_orientation", "_cmyk", "_truncated")]
    bomb = png_with_header(20_000, 20_000)
    outcome = pool.run(
        request_for("ssd_mobilenet_v1_coco_quant", [*edge, bomb, "images/edge/blank_night.jpg"]), 60.0
    )
    assert isinstance(outcome, Succeeded), outcome
    whole, turned, cmyk, truncated, too_large, blank = outcome.results
    first = [found for found in whole["detections"] if found["score"] >= 0.45]
    assert [found["label"] for found in first[:3]] == ["cow", "cow", "cow"]
    for other in (turned, cmyk):
        for found, same in zip(first[:2], other["detections"], strict=False):
            assert same["label"] == found["label"]
            assert same["box"] == pytest.approx(found["box"], abs=25)  # of 2048 x 1536 pixels
            assert same["score"] == pytest.approx(found["score"], abs=0.05)
    assert truncated["error"]["type"] == "urn:darkroom:problem:picture-broken"
    assert "truncated" in truncated["error"]["detail"]
    assert truncated["input"] == 3
    assert too_large["error"]["type"] == "urn:darkroom:problem:picture-too-large"
    assert not [found for found in blank["detections"] if found["score"] >= 0.45]
    assert len(outcome.provenance["inputs"]) == 6


def test_bytes_that_are_not_the_accepted_ones_are_an_error_of_that_input(
    pool: ChildPool, request_for: Callable[..., RunRequest]
) -> None:
    request = request_for("vww_96_int8", ["images/banana.jpg"])
    claimed = type(request.pictures[0])("sha256:" + "0" * 64, request.pictures[0].data)
    changed = RunRequest("other", request.model, request.artifact_path, request.labels_path, (claimed,), {})
    outcome = pool.run(changed, 30.0)
    assert isinstance(outcome, Succeeded)
    assert "not sha256:0000" in outcome.results[0]["error"]["detail"]
