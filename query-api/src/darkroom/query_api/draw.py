"""Pictures as they are shown: upright, re-encoded, and with what a model found drawn in. Pure functions on bytes.

What was uploaded is never given out as it came: it may be a page of HTML at the same time, or carry a place in its
EXIF data.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

JPEG_QUALITY = 90
PNG_COMPRESSION = 3  # a third of the time of the default, for a little more size
CLASSES_DRAWN_MAX = 5
_PALETTE = (
    "#e5484d", "#3e9bf4", "#46a758", "#f5a524", "#ab6ef5", "#12a594", "#e9569b", "#8ca3ad",
)  # fmt: skip


class UnreadablePicture(Exception):
    """The blob is not a picture that can be shown."""


def upright(data: bytes, pixels_max: int) -> tuple[Image.Image, str]:
    """The first frame as upright RGB, and the format to show it in: JPEG for JPEG, PNG for all others. Raises
    UnreadablePicture; the size is checked before anything is decoded."""
    try:
        with Image.open(BytesIO(data), formats=["JPEG", "PNG", "BMP", "GIF", "WEBP"]) as picture:
            if picture.width * picture.height > pixels_max:
                raise UnreadablePicture(f"{picture.width}x{picture.height} pixels are too many to be shown")
            shown_as = "JPEG" if picture.format == "JPEG" else "PNG"
            turned = ImageOps.exif_transpose(picture)
            return turned.convert("RGB"), shown_as
    except UnreadablePicture:
        raise
    except Exception as error:  # Pillow raises whatever its decoders happen to meet
        raise UnreadablePicture(f"the picture cannot be decoded ({type(error).__name__})") from None


def encoded(picture: Image.Image, shown_as: str) -> tuple[bytes, str]:
    """Bytes and media type, without any metadata."""
    picture.info.clear()  # encoders copy comments and profiles from there
    out = BytesIO()
    if shown_as == "JPEG":
        picture.save(out, "JPEG", quality=JPEG_QUALITY)
        return out.getvalue(), "image/jpeg"
    picture.save(out, "PNG", compress_level=PNG_COMPRESSION)
    return out.getvalue(), "image/png"


def annotate(picture: Image.Image, result: Mapping[str, Any], min_score: float) -> None:
    """Draws one input's result into its picture: boxes with labels, the top classes, or what went wrong."""
    pen = ImageDraw.Draw(picture)
    unit = max(1, round(min(picture.size) / 240))
    font = ImageFont.load_default(size=max(11, min(picture.size) // 28))
    if "error" in result:
        _lines(pen, picture, font, [str(result["error"].get("title", "error"))], unit)
    elif "detections" in result:
        for detection in reversed(result["detections"]):  # the best one is drawn last, on top
            if detection["score"] >= min_score:
                _box(pen, picture, font, detection, unit)
    else:
        best = [c for c in result.get("classes", []) if c["score"] >= min_score][:CLASSES_DRAWN_MAX]
        _lines(pen, picture, font, [f"{c['label']}  {c['score']:.0%}" for c in best], unit)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _box(
    pen: ImageDraw.ImageDraw, picture: Image.Image, font: Font, detection: Mapping[str, Any], unit: int
) -> None:
    x, y, width, height = detection["box"]
    colour = _PALETTE[int(detection.get("class_index", 0)) % len(_PALETTE)]
    right, bottom = max(x, x + width - 1), max(y, y + height - 1)
    pen.rectangle((x, y, right, bottom), outline=colour, width=max(2, unit * 2))
    text = _drawable(f"{detection['label']} {detection['score']:.0%}")
    left, top, text_right, text_bottom = pen.textbbox((0, 0), text, font=font)
    pad = 2 * unit
    plate_width, plate_height = text_right - left + 2 * pad, text_bottom - top + 2 * pad
    plate_x = min(max(0, x), max(0, picture.width - plate_width))
    plate_y = y - plate_height if y >= plate_height else min(y, max(0, picture.height - plate_height))
    pen.rectangle((plate_x, plate_y, plate_x + plate_width, plate_y + plate_height), fill=colour)
    pen.text((plate_x + pad - left, plate_y + pad - top), text, fill="#ffffff", font=font)


def _lines(pen: ImageDraw.ImageDraw, picture: Image.Image, font: Font, lines: Sequence[str], unit: int) -> None:
    if not lines:
        return
    text = _drawable("\n".join(lines))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
    pad = 4 * unit
    plate_y = max(0, picture.height - (bottom - top) - 2 * pad)
    pen.rectangle((0, plate_y, right - left + 2 * pad, picture.height), fill="#101010")
    pen.multiline_text((pad - left, plate_y + pad - top), text, fill="#ffffff", font=font)


def _drawable(text: str) -> str:
    """At most 200 characters, none of them a control character but the line break."""
    return "".join(c for c in text[:200] if c == "\n" or c.isprintable())
