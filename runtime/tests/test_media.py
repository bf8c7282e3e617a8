"""Pictures at the door: what is taken, how it is measured, what is refused."""

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from PIL import Image

from darkroom.runtime.blobs import BlobStore, digest_of
from darkroom.runtime.decoding.decoder import PictureDecoder
from darkroom.runtime.media import MediaDoor
from darkroom.schemas.errors import BadMedia

TESTDATA = Path(os.environ.get("DARKROOM_TESTDATA", Path(__file__).parents[3] / "shared" / "testdata"))
PIXELS_MAX = 4_000_000
SIZE_BYTES_MAX = 4 * 2**20


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    decoder = PictureDecoder(pixels_max=PIXELS_MAX, size_bytes_max=SIZE_BYTES_MAX, wait_s=30)
    yield decoder
    decoder.close()


@pytest.fixture
def door(decoder: PictureDecoder) -> MediaDoor:
    return MediaDoor(BlobStore(MemoryStore()), SIZE_BYTES_MAX, PIXELS_MAX, decoder)


def _picture(form: str, mode: str = "RGB", size_px: tuple[int, int] = (40, 30), **more: object) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size_px).save(content, form, **more)
    return content.getvalue()


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (_picture("JPEG"), "image/jpeg"),
        (_picture("JPEG", "L"), "image/jpeg"),
        (_picture("JPEG", "CMYK"), "image/jpeg"),
        (_picture("JPEG", progressive=True), "image/jpeg"),
        (_picture("JPEG") + b"<html><script>", "image/jpeg"),
        (_picture("PNG"), "image/png"),
        (_picture("PNG", "RGBA"), "image/png"),
        (_picture("PNG", "P"), "image/png"),
        (_picture("PNG", "I;16"), "image/png"),
        (_picture("PNG", "1"), "image/png"),
        (_picture("BMP"), "image/bmp"),
        (_picture("GIF"), "image/gif"),
        (_picture("GIF", save_all=True, append_images=[Image.new("RGB", (40, 30), 1)]), "image/gif"),
        (_picture("WEBP"), "image/webp"),
        (_picture("WEBP", lossless=True), "image/webp"),
    ],
)
def test_what_is_taken(door: MediaDoor, data: bytes, media_type: str) -> None:
    media = door.keep(data)
    assert (media.digest, media.media_type, media.size_bytes) == (digest_of(data), media_type, len(data))
    assert (media.width_px, media.height_px) == (40, 30)
    assert door.blobs.get(media.digest) == data, "kept as it came"
    assert door.find(media.digest) == media == door.keep(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_sizes_are_those_of_the_upright_picture(door: MediaDoor, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    media = door.inspect(_picture(form, exif=exif))
    assert (media.width_px, media.height_px) == ((30, 40) if orientation >= 5 else (40, 30))


def test_the_smallest_picture(door: MediaDoor) -> None:
    assert door.inspect(_picture("PNG", size_px=(1, 1))).width_px == 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_pictures_that_were_cut_off(door: MediaDoor, form: str, kept: float) -> None:
    noise = Image.frombytes("RGB", (64, 64), bytes((i * 7919) % 251 for i in range(64 * 64 * 3)))
    content = io.BytesIO()
    noise.save(content, form)
    data = content.getvalue()[: int(len(content.getvalue()) * kept)]
    with pytest.raises(BadMedia) as caught:
        door.keep(data)
    assert caught.value.problem == "picture-broken"
    assert door.find(digest_of(data)) is None
    assert not door.blobs.exists(digest_of(data)), "what is refused is not kept"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (_picture("PNG", "1", (2001, 2000)), "picture-too-large"),
        (_picture("PNG", "1", (20_000, 20_000)), "picture-too-large"),
        (b"\x89PNG\r\n\x1a\n" + bytes(5 * 2**20), "picture-too-large"),
        (_picture("JPEG") + b"\xff\xda" * 200, "picture-broken"),
        (_picture("TIFF"), "unsupported-media"),
        (_picture("PPM"), "unsupported-media"),
        (_picture("ICO"), "unsupported-media"),
        (b"%PDF-1.7", "unsupported-media"),
    ],
)
def test_what_is_refused(door: MediaDoor, data: bytes, problem: str) -> None:
    with pytest.raises(BadMedia) as caught:
        door.keep(data)
    assert caught.value.problem == problem


def test_no_decoder_gets_further_than_bad_media(door: MediaDoor) -> None:
    """Every byte of a small picture, altered: taken or refused, never anything else."""
    for form in ("JPEG", "PNG", "BMP", "GIF", "WEBP"):
        whole = _picture(form, size_px=(6, 5))
        for place in range(len(whole)):
            data = bytearray(whole)
            data[place] ^= 0xA5
            with suppress(BadMedia):
                door.inspect(bytes(data))


def test_what_was_put_otherwise_is_no_picture(door: MediaDoor) -> None:
    digest = door.blobs.put(_picture("PNG"))
    assert door.find(digest) is None
    assert door.find("../../x") is None


def test_lower_limits_of_today_hold_for_uploads_of_before(door: MediaDoor) -> None:
    digest = door.keep(_picture("PNG")).digest
    stricter = MediaDoor(door.blobs, SIZE_BYTES_MAX, 100, door.decoder)
    with pytest.raises(BadMedia):
        stricter.find(digest)


def test_real_photos(door: MediaDoor) -> None:
    found = sorted((TESTDATA / "images").iterdir())
    assert found, f"no test data at {TESTDATA}: set DARKROOM_TESTDATA"
    for path in found:
        if path.is_file():
            assert door.inspect(path.read_bytes()).width_px > 0
    edge = TESTDATA / "images" / "edge"
    with pytest.raises(BadMedia):
        door.inspect((edge / "elephants_truncated.jpg").read_bytes())
    assert door.inspect((edge / "elephants_cmyk.jpg").read_bytes()).width_px == 2048
