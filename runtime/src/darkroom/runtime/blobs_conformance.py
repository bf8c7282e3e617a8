"""What every blob store does, as functions that any adapter's tests run.

`for scenario in SCENARIOS: scenario(store)`. Plain asserts, no test framework, as in `eventlog/conformance.py`. The
contents are drawn from a fresh id, so a store that already holds things passes as well.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from darkroom.runtime.blobs import BlobStore, digest_of
from darkroom.runtime.ids import new_id
from darkroom.schemas.errors import BlobMissing

_LARGE_SIZE_BYTES = 9 * 2**20
"""Goes up in parts, and comes down in chunks."""
_NO_DIGESTS = (
    "",
    "sha256:",
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:" + "a" * 64 + "\n",
    "md5:" + "a" * 64,
    "../../etc/passwd",
    "sha256:../" + "a" * 61,
)


def what_is_put_comes_back(store: BlobStore) -> None:
    """The digest is that of the bytes; size and presence agree."""
    data = _fresh()
    digest = digest_of(data)
    assert not store.exists(digest)
    assert store.put(data) == digest == f"sha256:{sha256(data).hexdigest()}"
    assert store.exists(digest)
    assert store.size(digest) == len(data)
    assert store.get(digest) == data
    assert b"".join(store.stream(digest)) == data


def putting_again_is_no_change(store: BlobStore) -> None:
    """Also by many at once."""
    data = _fresh()
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(store.put, [data] * 16))
    assert digests == {digest_of(data)}
    assert store.get(digest_of(data)) == data


def the_empty_blob_is_a_blob(store: BlobStore) -> None:
    """Nothing is something."""
    assert store.get(store.put(b"")) == b""
    assert store.size(digest_of(b"")) == 0


def files_large_and_small(store: BlobStore) -> None:
    """Put from a file, and brought back into one."""
    with TemporaryDirectory() as folder:
        for size_bytes in (1, _LARGE_SIZE_BYTES):
            path = Path(folder) / "in"
            data = _fresh() + bytes(size_bytes)
            path.write_bytes(data)
            for _ in range(2):
                assert store.put(path) == digest_of(data) == digest_of(path)
            assert store.size(digest_of(data)) == len(data)
            store.get_to_file(digest_of(data), Path(folder) / "out")
            assert (Path(folder) / "out").read_bytes() == data
        assert sorted(p.name for p in Path(folder).iterdir()) == ["in", "out"], "nothing else is left behind"


def what_is_missing_is_told(store: BlobStore) -> None:
    """Each reading raises BlobMissing, at once."""
    digest = digest_of(_fresh())
    with TemporaryDirectory() as folder:
        target = Path(folder) / "out"
        readings: list[Callable[[], object]] = [
            lambda: store.get(digest),
            lambda: store.stream(digest),
            lambda: store.size(digest),
            lambda: store.get_note(digest),
            lambda: store.get_to_file(digest, target),
        ]
        for reading in readings:
            _raises(BlobMissing, reading)
        assert not list(Path(folder).iterdir())
    assert not store.exists(digest)


def what_is_no_digest_is_refused(store: BlobStore) -> None:
    """Before it becomes a path."""
    for text in _NO_DIGESTS:
        for reading in (store.get, store.stream, store.exists, store.size, store.get_note):
            _raises(ValueError, partial(reading, text))
        _raises(ValueError, partial(store.put_note, text, b"{}"))


def a_note_stands_beside_its_blob(store: BlobStore) -> None:
    """It can be replaced, and is no blob."""
    digest = digest_of(_fresh())
    store.put_note(digest, b"one")
    store.put_note(digest, b"two")
    assert store.get_note(digest) == b"two"
    assert not store.exists(digest)
    store.check()


def copies_are_found_by_listing(store: BlobStore) -> None:
    """They are replaced, read, deleted, and no name leads out of their folder."""
    folder = f"conformance/{new_id()}"
    assert store.copies(folder) == {}
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "in"
        for name, size_bytes in (("a/one", 1), ("a/one", 2), ("b/two", _LARGE_SIZE_BYTES)):
            path.write_bytes(_fresh()[:size_bytes].ljust(size_bytes, b"x"))
            store.put_copy(f"{folder}/{name}", path)
        assert store.copies(folder) == {f"{folder}/a/one": 2, f"{folder}/b/two": _LARGE_SIZE_BYTES}
        assert b"".join(store.stream_copy(f"{folder}/b/two")) == path.read_bytes()
    assert store.copies(f"{folder}/a") == {f"{folder}/a/one": 2}
    for _ in range(2):
        store.delete_copy(f"{folder}/a/one")
    assert store.copies(folder) == {f"{folder}/b/two": _LARGE_SIZE_BYTES}
    _raises(BlobMissing, lambda: store.stream_copy(f"{folder}/a/one"))
    store.delete_copy(f"{folder}/b/two")
    for text in ("", "/", "../x", "a//b", "a/", "a.b", "a\n", "a/" * 8 + "a"):
        for action in (store.copies, store.stream_copy, store.delete_copy):
            _raises(ValueError, partial(action, text))
        _raises(ValueError, partial(store.put_copy, text, Path()))


SCENARIOS: tuple[Callable[[BlobStore], None], ...] = (
    what_is_put_comes_back,
    putting_again_is_no_change,
    the_empty_blob_is_a_blob,
    files_large_and_small,
    what_is_missing_is_told,
    what_is_no_digest_is_refused,
    a_note_stands_beside_its_blob,
    copies_are_found_by_listing,
)


def _fresh() -> bytes:
    return f"blob {new_id()}".encode()


def _raises(expected: type[Exception], action: Callable[[], object]) -> None:
    try:
        action()
    except expected:
        return
    raise AssertionError(f"{expected.__name__} was not raised")
