"""SavedModel archives: packed the same way every time, unpacked without trusting them."""

import gzip
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from darkroom.executor.problems import ModelError, model_invalid

_CHUNK_BYTES = 2**20
_HEADERS_BYTES = 4096  # per entry: header, extended header, padding


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most, unpacked."""

    entries: int = 10_000
    size_bytes: int = 2 * 2**30
    path_chars: int = 512


def pack(folder: Path, into: BinaryIO) -> None:
    """Write ``folder`` as tar.gz; the same files give the same bytes. Raises ModelError if it is no SavedModel."""
    if not (folder / "saved_model.pb").is_file():
        raise ModelError(model_invalid(f"{folder} holds no saved_model.pb: it is not a SavedModel."))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=into, mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in files:
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)


def unpack(archive: bytes, into: Path, limits: Limits | None = None) -> Path:
    """Unpack a .tar or .tar.gz into the empty folder ``into``; returns the folder that holds saved_model.pb.

    Only plain files and folders under relative names are written, none larger in sum than the limits, whatever the
    headers say. Raises ModelError (model-invalid) for anything else, leaving ``into`` for the caller to remove.
    """
    limits = limits or Limits()
    try:
        packed = io.BytesIO(archive)
        bytes_max = limits.size_bytes + limits.entries * _HEADERS_BYTES
        with gzip.GzipFile(fileobj=packed) if archive[:2] == b"\x1f\x8b" else packed as source:
            bounded: Any = _Bounded(source, bytes_max)  # all that a stream of tarfile asks of its file is read
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                _unpack(tar, into, limits)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ModelError(model_invalid(f"The archive cannot be unpacked: {error}")) from error
    return _model_folder(into)


class _Bounded:
    """Reads no more than so many bytes of a stream that may decompress without end."""

    def __init__(self, source: Any, size_bytes: int) -> None:
        self._source, self._left_bytes = source, size_bytes

    def read(self, size: int) -> bytes:
        content: bytes = self._source.read(size)
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise _refused("more bytes than its limit allows")
        return content


def _unpack(tar: tarfile.TarFile, into: Path, limits: Limits) -> None:
    left_bytes = limits.size_bytes
    for count, entry in enumerate(tar, start=1):
        if count > limits.entries:
            raise _refused(f"more than {limits.entries} entries")
        target = into / _safe_name(entry.name, limits)
        if entry.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        if not entry.isreg() or entry.issparse():  # links, devices and pipes; sparse files, whose size lies
            raise _refused(f"{entry.name!r}, which is neither a plain file nor a folder")
        left_bytes -= entry.size
        if left_bytes < 0:
            raise _refused(f"more than {limits.size_bytes} bytes")
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(tar, entry, target)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(entry)
    if content is None:
        raise _refused(f"{entry.name!r}, which cannot be read")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW  # a name may come once only
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            file.write(chunk)


def _safe_name(name: str, limits: Limits) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or len(name) > limits.path_chars:
        raise _refused(f"the unsafe name {name[:100]!r}")
    return path


def _model_folder(into: Path) -> Path:
    if (into / "saved_model.pb").is_file():
        return into
    folders = [path for path in into.iterdir() if (path / "saved_model.pb").is_file()]
    if len(folders) != 1:
        raise _refused("no saved_model.pb at its top, nor in its only folder")
    return folders[0]


def _refused(what: str) -> ModelError:
    return ModelError(model_invalid(f"The archive holds {what}; it is not unpacked."))
