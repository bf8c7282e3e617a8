"""Pictures at the door: decoded once, within limits, and kept as they came under their sha256.

The content decides what a file is, never its name or its declared type. Beyond its first bytes no picture is looked
at in the service's own process: headers and pixels are read by the decoder's children.

What was found is kept as a note beside the blob. A job that names an upload by its digest reads that note: it says
that those bytes were decoded whole, which a second look at the header could not, and a model file or label map of
the same store has none, so it cannot be passed off as a picture.
"""

from dataclasses import asdict, dataclass, field
from time import monotonic

import orjson

from darkroom.runtime.blobs import BlobStore, digest_of
from darkroom.runtime.decoding.decoder import PictureDecoder
from darkroom.runtime.decoding.formats import sniff
from darkroom.schemas.errors import BadMedia, BlobMissing
from darkroom.schemas.job import Media

_REMEMBERED_S = 10.0
_REMEMBERED_MAX = 4096


class _FoundLately:
    """Pictures that were found in the last ten seconds. What stands under a digest never changes; only that it is
    still there may, and a sweep leaves what was named within a day."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, Media]] = {}

    def get(self, digest: str) -> Media | None:
        until_s, media = self._found.get(digest, (0.0, None))
        return media if monotonic() < until_s else None

    def put(self, media: Media) -> None:
        if len(self._found) >= _REMEMBERED_MAX:
            self._found = {}
        self._found[media.digest] = (monotonic() + _REMEMBERED_S, media)


@dataclass(frozen=True, slots=True)
class MediaDoor:
    """Takes pictures in."""

    blobs: BlobStore
    size_bytes_max: int
    pixels_max: int
    decoder: PictureDecoder
    _lately: _FoundLately = field(default_factory=_FoundLately, init=False, compare=False)

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
        if (lately := self._lately.get(digest)) is not None:
            return lately
        try:
            media = Media(**orjson.loads(self.blobs.get_note(digest)))
        except (BlobMissing, ValueError):  # ValueError: what was given is no digest
            return None
        if not self.blobs.exists(digest):
            return None
        if media.width_px * media.height_px > self.pixels_max:
            raise BadMedia("picture-too-large", f"A picture may have at most {self.pixels_max} pixels.")
        self._lately.put(media)
        return media

    def inspect(self, data: bytes) -> Media:
        """What a picture is, after decoding it whole. Raises BadMedia: `unsupported-media`, `picture-broken`,
        `picture-too-large` or `picture-too-slow`; Unavailable if too much is being decoded."""
        if len(data) > self.size_bytes_max:
            raise BadMedia("picture-too-large", f"A picture may have at most {self.size_bytes_max} bytes.")
        if not data:
            raise BadMedia("picture-broken", "The file is empty.")
        kind = sniff(data)
        if kind is None:
            raise BadMedia("unsupported-media", "The content is not a JPEG, PNG, BMP, GIF or WebP picture.")
        width_px, height_px = self.decoder.look(data, kind)
        return Media(digest_of(data), f"image/{kind.lower()}", len(data), width_px, height_px)
