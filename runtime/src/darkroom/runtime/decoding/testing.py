"""Pictures that mean harm, made on the spot, for tests and benchmarks."""

import io
import struct
import zlib
from collections.abc import Iterable

from PIL import Image

PNG_BEGIN = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def black_png(width_px: int, height_px: int, extra: bytes = b"") -> bytes:
    """An 8-bit RGB PNG in a thousandth of the bytes that it unpacks to, with `extra` chunks after its header."""
    packed = _packed_zeros(height_px * (1 + 3 * width_px))
    return png_header(width_px, height_px) + extra + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def _packed_zeros(size_bytes: int) -> bytes:
    """A zlib stream of so many zeros, put together from one packed megabyte."""
    whole, rest = divmod(size_bytes, 2**20)
    checksum = size_bytes % 65521 << 16 | 1  # Adler-32 of nothing but zeros
    return b"\x78\x9c" + _part(2**20) * whole + _part(rest) + b"\x03\x00" + struct.pack(">I", checksum)


def _part(size_bytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(size_bytes)) + packer.flush(zlib.Z_FULL_FLUSH)


def png_header(width_px: int, height_px: int) -> bytes:
    """How a PNG of that size begins; nothing else of it is there."""
    return PNG_BEGIN + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0))


def packed_text_png(kind: bytes, unpacked_bytes: int) -> bytes:
    """A small PNG with a chunk (zTXt, iTXt or iCCP) that unpacks to so much."""
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    return black_png(8, 6, png_chunk(kind, head + zlib.compress(bytes(unpacked_bytes), 9)))


def many_texts_png(count: int) -> bytes:
    """A small PNG with so many text chunks: some microseconds of Python each."""
    return black_png(8, 6, b"".join(png_chunk(b"tEXt", b"k%d\0v" % number) for number in range(count)))


def many_comments_gif(count: int) -> bytes:
    """A small GIF with so many comments before its first frame."""
    content = io.BytesIO()
    Image.new("P", (8, 6)).save(content, "GIF")
    whole = content.getvalue()
    flags = whole[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    return whole[:at] + b"\x21\xfe\x01x\0" * count + whole[at:]


def many_scans_jpeg(width_px: int, height_px: int, scans: int = 100) -> bytes:
    """A grey progressive JPEG whose last scan is repeated: each costs a pass over all of it, and hardly a byte."""
    content = io.BytesIO()
    Image.new("L", (width_px, height_px), 90).save(content, "JPEG", progressive=True)
    head, found = _scans(content.getvalue())
    return head + b"".join([*found, *[found[-1]] * (scans - len(found))]) + b"\xff\xd9"


def _scans(jpeg: bytes) -> tuple[bytes, list[bytes]]:
    """What comes before the first scan, and the scans with the tables before each."""
    at, begin = 2, 0
    found: list[bytes] = []
    while jpeg[at + 1] != 0xD9:
        marker, end = jpeg[at + 1], at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker == 0xDA:
            end = _entropy_end(jpeg, end)
            found.append(jpeg[begin:end])
        if marker in (0xDA, 0xC2):
            begin = end
        if marker == 0xC2:
            head = jpeg[:end]
        at = end
    return head, found


def _entropy_end(jpeg: bytes, at: int) -> int:
    while True:
        at = jpeg.index(b"\xff", at)
        if jpeg[at + 1] != 0 and not 0xD0 <= jpeg[at + 1] <= 0xD7:
            return at
        at += 2


def hostile_uploads(pixels_max: int) -> Iterable[tuple[str, bytes]]:
    """One of each kind by its name, at the limit where there is one. Bytes after the end of any of them make it
    another file of the same cost."""
    side_px = int(pixels_max**0.5)
    webp = io.BytesIO()
    Image.new("RGB", (side_px, side_px)).save(webp, "WEBP", lossless=True, method=0)
    frames = io.BytesIO()
    pictures = [Image.new("RGB", (100, 100), (number, 0, 0)) for number in range(200)]
    pictures[0].save(frames, "GIF", save_all=True, append_images=pictures[1:])
    large = black_png(side_px, side_px)
    yield "png at the limit", large
    yield "png cut off", large[: len(large) * 9 // 10]
    yield "png of 400 megapixels", black_png(20_000, 20_000)
    yield "png header of 2^62 pixels", png_header(2**31 - 1, 2**31 - 1) + black_png(8, 6)[33:]
    yield "png of many texts", many_texts_png(200_000)
    yield "png text of 50 MB", packed_text_png(b"zTXt", 50 * 2**20)
    yield "jpeg of 100 scans at the limit", many_scans_jpeg(side_px, side_px)
    yield "gif of many comments", many_comments_gif(2**20)
    yield "animated gif", frames.getvalue()
    yield "webp at the limit", webp.getvalue()
