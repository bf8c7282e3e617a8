"""Pictures to send: samples if there are any, and drawn ones; and three that have to be refused."""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

DRAWN_PICTURES = 16
SIZES_PX = ((96, 96), (160, 120), (320, 240), (240, 320))
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "BMP": "image/bmp"}
MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
"""By the suffix of a file's name; only what the service takes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is sent."""

    name: str
    media_type: str
    data: bytes


def pool(seed: int, samples: Path | None = None) -> Sequence[Picture]:
    """The pictures of a simulation: samples from a folder, if given, then drawn ones. The same seed and
    samples give the same pool."""
    rng = Random(seed)
    found = read_folder(samples) if samples is not None and samples.is_dir() else []
    return [*found, *(drawn(rng, f"drawn-{n}") for n in range(DRAWN_PICTURES))]


def read_folder(folder: Path) -> list[Picture]:
    """The pictures of a folder (not of folders in it), by name. Other files are left out."""
    return [read_file(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in MEDIA_TYPES]


def read_file(path: Path) -> Picture:
    """A file as it is; the media type comes from its name, and the service looks at the content anyway."""
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return Picture(path.name, media_type, path.read_bytes())


def drawn(rng: Random, name: str) -> Picture:
    """A few coloured shapes on a coloured ground, in one of the formats that the service takes."""
    width_px, height_px = rng.choice(SIZES_PX)
    image = Image.new("RGB", (width_px, height_px), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(1, 5)):
        x, y = rng.randrange(width_px * 3 // 4), rng.randrange(height_px * 3 // 4)
        size_px = rng.randint(12, min(width_px, height_px) // 2)
        box = (x, y, x + size_px, y + size_px)
        shape = rng.choice((draw.ellipse, draw.rectangle))
        shape(box, fill=_colour(rng))
    kind = rng.choice(list(FORMATS))
    out = io.BytesIO()
    image.save(out, kind)
    return Picture(f"{name}.{kind.lower()}", FORMATS[kind], out.getvalue())


def truncated() -> Picture:
    """A PNG whose second half is missing: readable header, broken pixels."""
    whole = io.BytesIO()
    noise = bytes(Random(1).randrange(256) for _ in range(64 * 64 * 3))
    Image.frombytes("RGB", (64, 64), noise).save(whole, "PNG")
    return Picture("truncated.png", "image/png", whole.getvalue()[: len(whole.getvalue()) // 2])


def text() -> Picture:
    """A text that calls itself a picture."""
    return Picture("letter.png", "image/png", b"Dear service, this is not a picture.\n" * 8)


def too_many_pixels(side_px: int = 30_000) -> Picture:
    """A small PNG that claims to be huge; whoever decodes it before looking at its header is in trouble."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 4096)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    data = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return Picture("huge.png", "image/png", b"\x89PNG\r\n\x1a\n" + data)


def _colour(rng: Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
