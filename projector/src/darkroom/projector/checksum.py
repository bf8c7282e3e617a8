"""A checksum over documents that does not depend on their order."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

_MODULUS = 2**128
_PIECE_SIZE_BYTES = 2_000
"""For more than 2,047 bytes at once the hash gives up Python's lock, and would wait up to 5 ms, document by
document, to get it back from a thread that folds."""


def digest(document: bytes) -> int:
    """BLAKE2b-16 of a document's BSON bytes, as a number."""
    if len(document) <= _PIECE_SIZE_BYTES:
        return int.from_bytes(blake2b(document, digest_size=16).digest(), "big")
    whole = blake2b(digest_size=16)
    for start in range(0, len(document), _PIECE_SIZE_BYTES):
        whole.update(document[start : start + _PIECE_SIZE_BYTES])
    return int.from_bytes(whole.digest(), "big")


@dataclass(slots=True)
class Checksum:
    """How many documents, and the sum of their digests modulo 2^128."""

    count: int = 0
    total: int = 0

    def add(self, document: bytes) -> int:
        """Takes one document in, as BSON bytes, and returns its digest."""
        value = digest(document)
        self.count += 1
        self.total = (self.total + value) % _MODULUS
        return value

    def __add__(self, other: "Checksum") -> "Checksum":
        return Checksum(self.count + other.count, (self.total + other.total) % _MODULUS)

    def __str__(self) -> str:
        return f"{self.count}:{self.total:032x}"


def checksum(documents: Iterable[bytes]) -> Checksum:
    """The checksum of documents given as BSON bytes."""
    result = Checksum()
    for document in documents:
        result.add(document)
    return result
