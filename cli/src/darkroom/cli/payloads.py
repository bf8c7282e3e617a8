"""Bytes from the log on a terminal: whatever they hold, nothing in them is obeyed."""

from collections.abc import Iterator

_ROW = 16


def plain(text: str) -> str:
    """The text with each character that is not for the eye (escapes, line ends, marks that turn the direction of
    writing) in its escaped form."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def plain_bytes(content: bytes | None) -> str:
    """Bytes on one line: text if they are UTF-8, otherwise their hex digits; `-` for none."""
    if content is None:
        return "-"
    try:
        return plain(content.decode())
    except UnicodeDecodeError:
        return f"0x{content.hex()}"


def lines_of(content: bytes) -> Iterator[str]:
    """Bytes on many lines: as text if they are UTF-8, otherwise as a hex dump (offset, bytes, ASCII)."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        for start in range(0, len(content), _ROW):
            row = content[start : start + _ROW]
            ascii = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)
            yield f"{start:08x}  {row.hex(' '):<{3 * _ROW - 1}}  {ascii}"
        return
    for line in text.split("\n"):
        yield plain(line)
