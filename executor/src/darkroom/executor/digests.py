"""SHA-256 digests in the form that the log and the blob store use."""

import hashlib
from pathlib import Path


def sha256_of(content: bytes) -> str:
    """``sha256:<hex>`` of bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """``sha256:<hex>`` of a file, read in pieces."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
