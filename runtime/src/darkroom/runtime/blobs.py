"""Blobs under their sha256: pictures, model files, label maps, large results.

One store over obstore: a local folder (`file:///path`, the default), S3 (`s3://bucket/prefix`) or memory (unit
tests). A blob never changes: the same bytes have the same digest, so putting them again is no change, and a write
that is repeated can do no harm. Nothing here trusts a name that came from outside: a digest is checked against its
pattern before it becomes part of a path.

Beside a blob there may be a note (`notes/…`): a few facts that were found when it was checked, as JSON bytes. It is
written after the blob, so a note says that its blob was once there, whole and checked.

Beside all blobs there are copies of what a service can build again but would rather not (`copies/<name>`): found by
listing, verified by whoever reads them, and deleted by whoever writes newer ones.

Layout: `sha256/<2 hex>/<62 hex>`, `notes/<2 hex>/<62 hex>` and `copies/<name>`.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, S3Store

from darkroom.runtime.settings import Settings
from darkroom.schemas.errors import BlobMissing, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["BlobMissing", "BlobStore", "digest_of", "open_blobs"]

_DIGEST = re.compile(r"sha256:([0-9a-f]{2})([0-9a-f]{62})")
_COPY_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}(/[A-Za-z0-9_-]{1,128}){0,7}")
_COPIES_LISTED_MAX = 1_000
_READ_SIZE_BYTES = 2**20
"""Larger blobs come down in pieces of this size: the time-out of a request covers its whole body, so that one
request for all of it could never succeed over a slow link."""
_PART_SIZE_BYTES = 5 * 2**20
"""The least that S3 takes as a part, the last one aside."""
_ONE_PUT_SIZE_BYTES_MAX = 8 * 2**20
"""Larger files go up in parts: a single conditional put would hold them in memory."""
_REQUEST_TIMEOUT = timedelta(seconds=5)
_RETRY_TIMEOUT = timedelta(seconds=10)


class BlobStore:
    """Blobs by digest (`sha256:<64 hex digits>`). Safe for use by many threads.

    Every method raises StoreUnavailable when the store does not answer in time, ValueError for what is no digest.
    """

    def __init__(self, store: "ObjectStore", prefix: str = "") -> None:
        self._store = store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def put(self, data: bytes | Path) -> str:
        """Keeps bytes, or the bytes of a file, and gives their digest."""
        digest = digest_of(data)
        path = self._path("sha256", digest)
        size_bytes = len(data) if isinstance(data, bytes) else data.stat().st_size
        with _failures_as_unavailable():
            if size_bytes <= _ONE_PUT_SIZE_BYTES_MAX:
                with suppress(AlreadyExistsError):
                    obstore.put(self._store, path, data, mode="create")
            elif not self._holds(path):
                # Two writers at once write the same bytes, and each write is atomic: overwriting does no harm.
                obstore.put(
                    self._store,
                    path,
                    data,
                    chunk_size=_PART_SIZE_BYTES,
                    max_concurrency=4,
                )
        return digest

    def get(self, digest: str) -> bytes:
        """The whole blob in memory; ask for its `size` first where it may be large. Raises BlobMissing."""
        return b"".join(self.stream(digest))

    def stream(self, digest: str) -> Iterator[bytes]:
        """The blob in chunks of 1 MiB at most. Raises BlobMissing at once, StoreUnavailable also on the way: each
        chunk has the time-out of one request, the blob has none."""
        return self._chunks(self._path("sha256", digest), self.size(digest), digest)

    def get_to_file(self, digest: str, path: Path) -> None:
        """Writes the blob to `path`: whole and with the right digest, or not at all. Raises BlobMissing, and
        StoreUnavailable if what arrived has another digest."""
        checksum = hashlib.sha256()
        chunks = self.stream(digest)
        with NamedTemporaryFile(dir=path.parent, prefix=".incoming-", delete=False) as file:
            try:
                for chunk in chunks:
                    checksum.update(chunk)
                    file.write(chunk)
                file.flush()
                if f"sha256:{checksum.hexdigest()}" != digest:
                    raise StoreUnavailable(f"the store gave other bytes than those of {digest}")
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise

    def exists(self, digest: str) -> bool:
        """Whether the store holds the blob."""
        with _failures_as_unavailable():
            return self._holds(self._path("sha256", digest))

    def size(self, digest: str) -> int:
        """Size in bytes. Raises BlobMissing."""
        with _failures_as_unavailable():
            try:
                return int(obstore.head(self._store, self._path("sha256", digest))["size"])
            except FileNotFoundError:
                raise BlobMissing(f"there is no blob {digest}") from None

    def put_note(self, digest: str, note: bytes) -> None:
        """Keeps a note beside a blob, in the place of an earlier one."""
        with _failures_as_unavailable():
            obstore.put(self._store, self._path("notes", digest), note, use_multipart=False)

    def get_note(self, digest: str) -> bytes:
        """The note beside a blob. Raises BlobMissing if there is none."""
        with _failures_as_unavailable():
            try:
                return bytes(obstore.get(self._store, self._path("notes", digest)).bytes())
            except FileNotFoundError:
                raise BlobMissing(f"there is no note beside {digest}") from None

    def put_copy(self, name: str, data: Path) -> None:
        """Keeps a file's bytes under a name (parts of letters, digits, `_` and `-`, with `/` between them), in the
        place of an earlier one."""
        path = self._copy_path(name)
        with _failures_as_unavailable():
            obstore.put(self._store, path, data, chunk_size=_PART_SIZE_BYTES, max_concurrency=2)

    def copies(self, folder: str) -> dict[str, int]:
        """Names and sizes in bytes of the copies in a folder and below, at most a thousand."""
        path = self._copy_path(folder)
        found: dict[str, int] = {}
        with _failures_as_unavailable():
            for page in obstore.list(self._store, prefix=path, chunk_size=100):
                for entry in page:
                    name = str(entry["path"]).removeprefix(f"{self._prefix}copies/")
                    if _COPY_NAME.fullmatch(name) and len(found) < _COPIES_LISTED_MAX:
                        found[name] = int(entry["size"])
        return found

    def stream_copy(self, name: str) -> Iterator[bytes]:
        """As `stream`. The bytes are those that the store has: verify them. Raises BlobMissing at once."""
        path = self._copy_path(name)
        with _failures_as_unavailable():
            try:
                size_bytes = int(obstore.head(self._store, path)["size"])
            except FileNotFoundError:
                raise BlobMissing(f"there is no copy {name}") from None
        return self._chunks(path, size_bytes, name)

    def delete_copy(self, name: str) -> None:
        """Deletes a copy, if it is there."""
        with _failures_as_unavailable(), suppress(FileNotFoundError):
            obstore.delete(self._store, self._copy_path(name))

    def check(self) -> None:
        """Raises StoreUnavailable unless the store answers; for readiness."""
        with _failures_as_unavailable():
            self._holds(f"{self._prefix}notes/check")

    def _holds(self, path: str) -> bool:
        try:
            obstore.head(self._store, path)
        except FileNotFoundError:
            return False
        return True

    def _chunks(self, path: str, size_bytes: int, name: str) -> Iterator[bytes]:
        for start in range(0, size_bytes, _READ_SIZE_BYTES):
            end = min(start + _READ_SIZE_BYTES, size_bytes)
            try:
                with _failures_as_unavailable():
                    chunk = bytes(obstore.get_range(self._store, path, start=start, end=end))
            except FileNotFoundError:
                raise StoreUnavailable(f"{name} went away while it was read") from None
            if len(chunk) != end - start:
                raise StoreUnavailable(f"the store gave {len(chunk)} bytes of {name} for {end - start}")
            yield chunk

    def _copy_path(self, name: str) -> str:
        if _COPY_NAME.fullmatch(name) is None:
            raise ValueError("not a name of a copy")
        return f"{self._prefix}copies/{name}"

    def _path(self, folder: str, digest: str) -> str:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise ValueError("not a digest of the form sha256:<64 hex digits>")
        return f"{self._prefix}{folder}/{match[1]}/{match[2]}"


def digest_of(data: bytes | Path) -> str:
    """`sha256:<hex>` of bytes, or of a file's bytes."""
    if isinstance(data, bytes):
        return f"sha256:{hashlib.sha256(data).hexdigest()}"
    with data.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def open_blobs(settings: Settings) -> BlobStore:
    """The store that DARKROOM_BLOBS names. Connects to nothing yet, but makes the folder of a local one.

    An S3 bucket must exist already (obstore makes none): see docs/operations.md. Raises ValueError for an address
    of another kind, StoreUnavailable if the local folder cannot be made.
    """
    url = urlsplit(settings.blobs)
    if url.scheme == "memory":
        return BlobStore(MemoryStore())
    if url.scheme == "file" and url.netloc in ("", "localhost") and url.path:
        folder = Path(unquote(url.path))
        with _failures_as_unavailable():
            folder.mkdir(parents=True, exist_ok=True)
            return BlobStore(LocalStore(folder))
    if url.scheme == "s3" and url.netloc:
        return BlobStore(_s3(url.netloc, settings), url.path)
    raise ValueError(
        f"DARKROOM_BLOBS is {settings.blobs!r}: it must be file:///path, s3://bucket/prefix or memory://"
    )


def _s3(bucket: str, settings: Settings) -> S3Store:
    return S3Store(
        bucket,
        config={"endpoint": settings.s3_endpoint} if settings.s3_endpoint else {},
        access_key_id=settings.s3_access_key,
        secret_access_key=settings.s3_secret_key,
        region=settings.s3_region,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": settings.s3_endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=2),
            "timeout": _REQUEST_TIMEOUT,
        },
        retry_config={
            "max_retries": 2,
            "retry_timeout": _RETRY_TIMEOUT,
            "backoff": {
                "init_backoff": timedelta(milliseconds=50),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
    )


@contextmanager
def _failures_as_unavailable() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError, TimeoutError) as error:
        # Only the first line: the rest of obstore's message dumps the request.
        raise StoreUnavailable(f"the blob store failed: {str(error).partition(chr(10))[0]}") from None
