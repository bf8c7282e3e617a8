"""Reads tables of a flatbuffer by field number, bounded, without generated classes."""

import struct
from collections.abc import Iterator
from typing import Any

import flatbuffers.number_types as types  # type: ignore[import-untyped]
from flatbuffers import encode
from flatbuffers.table import Table as Raw  # type: ignore[import-untyped]

VECTOR_MAX = 1_000_000


class FlatbufferError(Exception):
    """The bytes are not the flatbuffer that they should be."""


class Table:
    """One table; every accessor takes a field number (0, 1, … in the order of the schema).

    All accessors raise FlatbufferError when an offset leads out of the buffer.
    """

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def number(self, field: int, flags: Any, default: float = 0) -> Any:
        """A scalar of flatbuffers type ``flags``."""
        return self._get(field, lambda at: self._raw.Get(flags, at + self._raw.Pos), default)

    def text(self, field: int) -> str:
        """A string, empty if absent."""
        value = self._get(field, lambda at: self._raw.String(at + self._raw.Pos), b"")
        return bytes(value).decode("utf-8", errors="replace")

    def table(self, field: int) -> "Table | None":
        """A sub-table (or the table of a union), None if absent."""

        def sub(at: int) -> Table:
            return Table(Raw(self._raw.Bytes, self._raw.Indirect(at + self._raw.Pos)))

        found: Table | None = self._get(field, sub, None)
        return found

    def tables(self, field: int) -> list["Table"]:
        """A vector of tables."""

        def sub(start: int, count: int) -> list[Table]:
            return [Table(Raw(self._raw.Bytes, self._raw.Indirect(start + 4 * i))) for i in range(count)]

        found: list[Table] = self._vector(field, sub)
        return found

    def numbers(self, field: int, flags: Any) -> list[Any]:
        """A vector of scalars of flatbuffers type ``flags``."""

        def sub(start: int, count: int) -> list[Any]:
            return [self._raw.Get(flags, start + flags.bytewidth * i) for i in range(count)]

        found: list[Any] = self._vector(field, sub)
        return found

    def content(self, field: int) -> bytes:
        """A vector of bytes; may be longer than other vectors."""
        return self._get(field, self._bytes, b"")  # type: ignore[no-any-return]

    def _bytes(self, at: int) -> bytes:
        start, count = self._raw.Vector(at), self._raw.VectorLen(at)
        if start + count > len(self._raw.Bytes):
            raise FlatbufferError("a vector leads out of the buffer")
        return bytes(self._raw.Bytes[start : start + count])

    def _vector(self, field: int, read: Any) -> Any:
        def bounded(at: int) -> Any:
            count = self._raw.VectorLen(at)
            if count > VECTOR_MAX:
                raise FlatbufferError(f"a vector of {count} entries")
            return read(self._raw.Vector(at), count)

        return self._get(field, bounded, [])

    def _get(self, field: int, read: Any, default: Any) -> Any:
        try:
            at = self._raw.Offset(4 + 2 * field)
            return read(at) if at else default
        except (struct.error, IndexError, TypeError, ValueError, OverflowError) as error:
            raise FlatbufferError(f"field {field} leads out of the buffer") from error


def root(content: bytes, identifier: bytes) -> Table:
    """The root table. Raises FlatbufferError unless the file carries ``identifier`` (4 bytes)."""
    if len(content) < 8 or content[4:8] != identifier:
        raise FlatbufferError(f"no {identifier.decode()} file")
    return Table(Raw(content, encode.Get(types.UOffsetTFlags.packer_type, content, 0)))


def iterate(tables: list[Table], numbers: list[int]) -> Iterator[Table]:
    """The tables at the given places. Raises FlatbufferError for a place that is not there."""
    for number in numbers:
        if not 0 <= number < len(tables):
            raise FlatbufferError(f"place {number} of {len(tables)}")
        yield tables[number]
