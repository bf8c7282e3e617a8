"""What a picture is, found by decoding it whole. Runs in the decoder's child process only."""

from io import BytesIO

from PIL import Image

from darkroom.runtime.decoding.formats import webp_size
from darkroom.schemas.errors import BadMedia

_JPEG_SCANS_MAX = 100
"""A progressive picture has about ten; each further one costs another pass over all of it."""
_SCANS_LIKE_A_PICTURE = 10
_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})


class TooMuchEffort(Exception):
    """By its header the picture takes more time to decode than is to be given to it here."""


def look(data: bytes, kind: str, pixels_max: int, effort_pixels_max: int | None = None) -> tuple[int, int]:
    """Width and height in pixels of the upright picture, after decoding all of its first frame.

    The size is judged by the header, before a pixel is unpacked. Raises BadMedia: `picture-broken` or
    `picture-too-large`; TooMuchEffort for more pixels than `effort_pixels_max`, counting ten scans of a progressive
    JPEG like one picture.
    """
    scans = data.count(b"\xff\xda") if kind == "JPEG" else 0
    if scans > _JPEG_SCANS_MAX:
        raise BadMedia("picture-broken", f"The picture has more than {_JPEG_SCANS_MAX} scans.")

    def judge(width_px: int, height_px: int) -> None:
        if width_px < 1 or height_px < 1:
            raise BadMedia("picture-broken", "The picture has no pixels.")
        if width_px * height_px > pixels_max:
            raise BadMedia("picture-too-large", f"A picture may have at most {pixels_max} pixels.")
        effort_pixels = width_px * height_px * (1 + scans / _SCANS_LIKE_A_PICTURE)
        if effort_pixels_max is not None and effort_pixels > effort_pixels_max:
            raise TooMuchEffort

    try:
        if kind == "WEBP" and (size := webp_size(data)):
            judge(*size)
        with Image.open(BytesIO(data), formats=[kind]) as picture:
            judge(*(size := picture.size))
            # The pixels are thrown away: an eighth of a JPEG's size shows as well that it is whole.
            picture.draft(None, (1, 1))
            picture.load()
            turned = picture.getexif().get(_ORIENTATION) in _TURNED
    except (BadMedia, TooMuchEffort):
        raise
    except MemoryError:
        raise BadMedia("picture-too-large", "The picture needs too much memory.") from None
    except Exception as error:
        # Pillow's decoders raise nearly anything on broken files; the type is told, the message may quote data.
        detail = f"The {kind} picture cannot be decoded ({type(error).__name__})."
        raise BadMedia("picture-broken", detail) from None
    return (size[1], size[0]) if turned else size
