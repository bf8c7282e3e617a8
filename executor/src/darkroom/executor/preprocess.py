"""Picture bytes → upright RGB → input tensor, as the model's description says."""

import contextlib
import io
import struct
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from darkroom.executor.description import InputSpec
from darkroom.executor.problems import PictureError, picture_broken, picture_too_large
from darkroom.executor.tensors import Array, Quantization

PIXELS_MAX = 100_000_000
# Only decoders that are meant to meet strangers' files; what else Pillow can read stays shut.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")


def decode(picture: bytes, pixels_max: int = PIXELS_MAX) -> Image.Image:
    """The first frame, turned upright by EXIF, as RGB (alpha dropped, 16-bit grey scaled to 8).

    The size is judged by the header, before a pixel is decoded.
    Raises PictureError: picture-too-large, or picture-broken for anything Pillow cannot read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged below, by our own limit
            image = Image.open(io.BytesIO(picture), formats=FORMATS)
        if image.width * image.height > pixels_max:
            raise _too_large(f"{image.width} x {image.height} pixels", pixels_max)
        image.load()
        _turn_upright(image)
        return _rgb(image)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("too many pixels", pixels_max) from error
    except MemoryError:
        raise  # the process is in trouble, not the picture
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        raise PictureError(picture_broken(f"The picture cannot be decoded: {error}")) from error


def to_tensor(image: Image.Image, spec: InputSpec, quantization: Quantization | None) -> Array:
    """The input tensor, shape [1,H,W,3] or [1,3,H,W], of the dtype of ``spec``; aspect ratio is not kept.

    With a normalization the values are (x - mean) / std, then quantised where the tensor is; without one they are
    the pixel values 0..255 (for int8 shifted by -128, as its full range asks for).
    """
    if spec.width_px is not None and spec.height_px is not None:
        image = image.resize((spec.width_px, spec.height_px), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    values = _values(pixels, spec, quantization)
    if spec.layout == "NCHW":
        values = np.ascontiguousarray(values.transpose(2, 0, 1))
    return values[np.newaxis]


def applied(spec: InputSpec) -> dict[str, Any]:
    """The preprocessing in words and numbers, for a result's provenance."""
    normalization = spec.normalization
    return {
        "decoder": "pillow",
        "orientation": "exif",
        "color": "RGB",
        "resize": None
        if spec.width_px is None
        else {"to_px": [spec.width_px, spec.height_px], "filter": "bilinear"},
        "layout": spec.layout,
        "dtype": spec.dtype,
        "normalization": None
        if normalization is None
        else {"mean": list(normalization.mean), "std": list(normalization.std)},
    }


def _values(pixels: Array, spec: InputSpec, quantization: Quantization | None) -> Array:
    dtype = np.dtype(spec.dtype)
    if spec.normalization is None:
        if spec.dtype == "int8":
            return (pixels.astype(np.int16) - 128).astype(np.int8)
        return pixels.astype(dtype)
    mean = np.asarray(spec.normalization.mean, np.float32)
    std = np.asarray(spec.normalization.std, np.float32)
    real = (pixels.astype(np.float32) - mean) / std
    if dtype.kind == "f" or quantization is None:
        return real.astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.round(real / np.float32(quantization.scale)) + quantization.zero_point
    clipped: Array = np.clip(stored, limits.min, limits.max).astype(dtype)
    return clipped


def _turn_upright(image: Image.Image) -> None:
    # A damaged EXIF block says nothing about the way up; the picture itself is whole.
    with contextlib.suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip it to white
        grey = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(np.minimum(grey, 255).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def _too_large(size: str, pixels_max: int) -> PictureError:
    return PictureError(
        picture_too_large(f"The picture has {size}; at most {pixels_max} are decoded. Scale it down.")
    )
