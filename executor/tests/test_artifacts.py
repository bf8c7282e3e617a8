"""The cache of model files: only whole and right ones, a bounded sum, nothing removed that is in use."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.executor.artifacts import ArtifactCache
from darkroom.executor.digests import sha256_of
from darkroom.executor.problems import ModelError


class Store:
    """Gives one content, and counts how often it was asked."""

    def __init__(self, content: bytes) -> None:
        self.content, self.digest, self.asked = content, sha256_of(content), 0

    def fetch(self) -> Iterator[bytes]:
        self.asked += 1
        yield self.content[:3]
        yield self.content[3:]


def names(folder: Path) -> set[str]:
    return {"sha256:" + path.name for path in folder.iterdir()}


def test_a_file_is_fetched_once_and_survives_a_restart(tmp_path: Path) -> None:
    store = Store(b"a model")
    for cache in (ArtifactCache(tmp_path), ArtifactCache(tmp_path)):
        for _ in range(3):
            assert cache.ensure(store.digest, store.fetch).read_bytes() == b"a model"
    assert store.asked == 1


def test_a_damaged_file_is_fetched_again(tmp_path: Path) -> None:
    store, cache = Store(b"a model"), ArtifactCache(tmp_path)
    path = cache.ensure(store.digest, store.fetch)
    path.write_bytes(b"a moth")
    assert cache.ensure(store.digest, store.fetch).read_bytes() == b"a model"
    path.write_bytes(b"A model")
    assert ArtifactCache(tmp_path).ensure(store.digest, store.fetch).read_bytes() == b"a model"
    cache.discard(store.digest)
    cache.ensure(store.digest, store.fetch)
    assert store.asked == 4


def test_what_arrives_wrong_too_large_or_not_at_all_leaves_nothing(tmp_path: Path) -> None:
    cache, store = ArtifactCache(tmp_path, size_bytes_max=10), Store(b"a model")

    def breaks() -> Iterator[bytes]:
        yield b"a mo"
        raise ConnectionError("away")

    with pytest.raises(ModelError) as wrong:
        cache.ensure(sha256_of(b"another"), store.fetch)
    assert wrong.value.problem.type == "urn:darkroom:problem:model-digest-mismatch"
    with pytest.raises(ModelError, match="larger than 10 bytes"):
        cache.ensure(store.digest, Store(b"x" * 11).fetch)
    with pytest.raises(ConnectionError):
        cache.ensure(store.digest, breaks)
    with pytest.raises(ModelError, match="not a digest"):
        cache.ensure("sha256:../../etc/passwd", store.fetch)
    assert names(tmp_path) == set()


def test_the_longest_unused_goes_first_and_what_is_held_stays(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, size_bytes_max=20)
    a, b, c, d = (Store(letter * 9) for letter in (b"a", b"b", b"c", b"d"))
    with cache.hold(a.digest, a.fetch) as held:
        cache.ensure(b.digest, b.fetch)
        cache.ensure(c.digest, c.fetch)
        assert names(tmp_path) == {a.digest, c.digest}
        assert held.exists()
    cache.ensure(d.digest, d.fetch)
    assert names(tmp_path) == {c.digest, d.digest}
    cache.ensure(c.digest, c.fetch)
    cache.ensure(a.digest, a.fetch)
    assert names(tmp_path) == {c.digest, a.digest}


def test_many_threads_fetch_a_file_once(tmp_path: Path) -> None:
    store, cache, together = Store(b"a model" * 1000), ArtifactCache(tmp_path), threading.Barrier(8)
    seen: list[bytes] = []

    def ask() -> None:
        together.wait(10)
        with cache.hold(store.digest, store.fetch) as path:
            seen.append(path.read_bytes())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [store.content] * 8
    assert store.asked == 1
