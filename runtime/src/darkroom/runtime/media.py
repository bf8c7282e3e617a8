"""Pictures at the door: decoded once, within limits, and kept as they came under their sha256.

The content decides what a file is, never its name or its declared type. The header is read first, so that a picture
of too many pixels is refused before anything of it is unpacked; what is then decoded draws on one budget of pixels
per process, so that many pictures at once cannot fill the memory.

What was found is kept as a note beside the blob. A job that names an upload by its digest reads that note: it says
that those bytes were decoded whole, which a second look at the header could not, and a model file or label map of
the same store has none, so it cannot be passed off as a picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from threading import Condition

import orjson
from PIL import Image

from darkroom.runtime.blobs import BlobStore, digest_of
from darkroom.schemas.errors import BadMedia, BlobMissing, Unavailable
from darkroom.schemas.job import Media

_JPEG_SCANS_MAX = 100
"""A progressive picture has about ten; each further one costs another pass over all of it."""
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})


class PixelBudget:
    """How many pixels may be in decoding at the same time in this process."""

    def __init__(self, pixels_max: int) -> None:
        self._pixels_max = pixels_max
        self._pixels_free = pixels_max
        self._changed = Condition()

    @contextmanager
    def taken(self, pixels: int, timeout_s: float) -> Iterator[None]:
        """Holds a share while a picture is decoded; a larger one than the budget takes it all. Raises Unavailable
        if the share is not free in time."""
        share = min(pixels, self._pixels_max)
        with self._changed:
            if not self._changed.wait_for(lambda: self._pixels_free >= share, timeout_s):
                raise Unavailable("Too many pictures are being decoded at once.")
            self._pixels_free -= share
        try:
            yield
        finally:
            with self._changed:
                self._pixels_free += share
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class MediaDoor:
    """Takes pictures in. `budget_timeout_s` bounds the wait for a share of the budget."""

    blobs: BlobStore
    size_bytes_max: int
    pixels_max: int
    budget: PixelBudget
    budget_timeout_s: float = 5.0

    def keep(self, data: bytes) -> Media:
        """Checks a picture and keeps it. Raises BadMedia, StoreUnavailable, Unavailable."""
        known = self.find(digest_of(data))
        if known is not None:
            return known
        media = self.inspect(data)
        self.blobs.put(data)
        self.blobs.put_note(media.digest, orjson.dumps(asdict(media)))
        return media

    def find(self, digest: str) -> Media | None:
        """A picture that was kept before; None if there is none (anything else in the store is none). Raises
        StoreUnavailable, and BadMedia if today's limits refuse it."""
        try:
            media = Media(**orjson.loads(self.blobs.get_note(digest)))
        except (BlobMissing, ValueError):  # ValueError: what was given is no digest
            return None
        if not self.blobs.exists(digest):
            return None
        self._check_pixels(media.width_px, media.height_px)
        return media

    def inspect(self, data: bytes) -> Media:
        """What a picture is, after decoding it whole. Raises BadMedia: `unsupported-media`, `picture-broken` or
        `picture-too-large`; Unavailable if too much is being decoded."""
        if len(data) > self.size_bytes_max:
            raise BadMedia("picture-too-large", f"A picture may have at most {self.size_bytes_max} bytes.")
        if not data:
            raise BadMedia("picture-broken", "The file is empty.")
        kind = sniff(data)
        if kind is None:
            raise BadMedia("unsupported-media", "The content is not a JPEG, PNG, BMP, GIF or WebP picture.")
        width_px, height_px = self._decode(data, kind)
        return Media(digest_of(data), f"image/{kind.lower()}", len(data), width_px, height_px)

    def _decode(self, data: bytes, kind: str) -> tuple[int, int]:
        """Width and height of the upright picture."""
        if kind == "JPEG" and data.count(b"\xff\xda") > _JPEG_SCANS_MAX:
            raise BadMedia("picture-broken", f"The picture has more than {_JPEG_SCANS_MAX} scans.")
        try:
            with Image.open(BytesIO(data), formats=[kind]) as picture:
                width_px, height_px = picture.size
                self._check_pixels(width_px, height_px)
                with self.budget.taken(width_px * height_px, self.budget_timeout_s):
                    # The pixels are thrown away: an eighth of a JPEG's size shows as well that it is whole.
                    picture.draft(None, (1, 1))
                    picture.load()
                turned = picture.getexif().get(_ORIENTATION) in _TURNED
        except (BadMedia, Unavailable):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise self._too_many_pixels() from None
        except MemoryError:
            raise BadMedia("picture-too-large", "The picture needs too much memory.") from None
        except Exception as error:
            # Pillow's decoders raise nearly anything on broken files; the type is told, the message may quote data.
            raise BadMedia(
                "picture-broken", f"The {kind} picture cannot be decoded ({type(error).__name__})."
            ) from None
        return (height_px, width_px) if turned else (width_px, height_px)

    def _check_pixels(self, width_px: int, height_px: int) -> None:
        if width_px < 1 or height_px < 1:
            raise BadMedia("picture-broken", "The picture has no pixels.")
        if width_px * height_px > self.pixels_max:
            raise self._too_many_pixels()

    def _too_many_pixels(self) -> BadMedia:
        return BadMedia("picture-too-large", f"A picture may have at most {self.pixels_max} pixels.")


def sniff(data: bytes) -> str | None:
    """Pillow's name of the picture format that the bytes begin like, among those that are taken."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    return None
