"""Drawn pictures can be decoded; broken ones are broken in the way that they say."""

import io
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from darkroom.simulator import pictures


def test_drawn_pictures_are_what_they_say() -> None:
    for picture in pictures.pool(3):
        with Image.open(io.BytesIO(picture.data)) as image:
            image.load()
            assert Image.MIME[str(image.format)] == picture.media_type
            assert image.size in pictures.SIZES_PX


def test_the_samples_of_a_folder_come_first(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"b")
    (tmp_path / "a.JPG").write_bytes(b"a")
    (tmp_path / "expected.json").write_text("{}")
    found = pictures.pool(1, tmp_path)[:3]
    assert [p.name for p in found[:2]] == ["a.JPG", "b.png"]
    assert found[0].media_type == "image/jpeg"
    assert found[2].name.startswith("drawn-")
    assert len(pictures.pool(1, tmp_path / "none")) == pictures.DRAWN_PICTURES


def test_the_truncated_picture_has_a_header_and_no_end() -> None:
    image = Image.open(io.BytesIO(pictures.truncated().data))
    assert image.size == (64, 64)
    with pytest.raises(OSError, match="truncated"):
        image.load()


def test_the_text_is_no_picture() -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(pictures.text().data))


def test_the_huge_picture_is_small_and_says_so_in_its_header() -> None:
    huge = pictures.too_many_pixels()
    assert len(huge.data) < 10_000
    with pytest.raises(Image.DecompressionBombError, match="900000000 pixels"):
        Image.open(io.BytesIO(huge.data))
