"""The blob store: every adapter passes one suite; what else can go wrong."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from darkroom.runtime.blobs import BlobStore, digest_of, open_blobs
from darkroom.runtime.blobs_conformance import SCENARIOS
from darkroom.runtime.settings import read_settings
from darkroom.schemas.errors import StoreUnavailable

from .s3_stand_in import s3_stand_in

Scenario = Callable[[BlobStore], None]


def _open(url: str, **more: str) -> BlobStore:
    return open_blobs(replace(read_settings(), blobs=url, **more))


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "s3":
        with s3_stand_in() as (endpoint, objects):
            yield _open("s3://bucket/some/prefix", s3_endpoint=endpoint, s3_access_key="a", s3_secret_key="b")
            assert all(path.startswith("/bucket/some/prefix/") for path in objects)
    else:
        yield _open({"memory": "memory://", "folder": f"file://{tmp_path}/made/on%20demand"}[request.param])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_conformance(store: BlobStore, scenario: Scenario) -> None:
    scenario(store)


@pytest.mark.compose
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_conformance_of_a_real_s3(scenario: Scenario) -> None:
    """DARKROOM_TEST_S3=s3://bucket/prefix and the DARKROOM_S3_* settings name it."""
    scenario(_open(os.environ["DARKROOM_TEST_S3"]))


def test_the_layout_of_a_folder(tmp_path: Path) -> None:
    store = _open(f"file://{tmp_path}")
    digest = store.put(b"x").removeprefix("sha256:")
    store.put_note(f"sha256:{digest}", b"{}")
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"sha256/{digest[:2]}/{digest[2:]}", f"notes/{digest[:2]}/{digest[2:]}"}


def test_a_blob_that_was_altered_is_not_brought_into_a_file(tmp_path: Path) -> None:
    store = _open(f"file://{tmp_path}/blobs")
    digest = store.put(b"as it was")
    (path,) = (tmp_path / "blobs" / "sha256").rglob("*/*")
    path.write_bytes(b"altered")
    with pytest.raises(StoreUnavailable, match="other bytes"):
        store.get_to_file(digest, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["blobs"]


@pytest.mark.parametrize("url", ["", "blobs", "http://x/y", "s3://", "file://host/x"])
def test_addresses_of_no_store(url: str) -> None:
    with pytest.raises(ValueError, match="DARKROOM_BLOBS"):
        _open(url)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        _open(f"file://{tmp_path}/file/blobs")


def test_a_store_that_is_away_is_told_in_time() -> None:
    """Nobody listens: refused at once, tried again a little, then told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    store = _open("s3://bucket", s3_endpoint=endpoint, s3_access_key="a", s3_secret_key="SECRET")
    begun = monotonic()
    for action in (lambda: store.put(b"x"), store.check, lambda: store.get(digest_of(b"x"))):
        with pytest.raises(StoreUnavailable) as caught:
            action()
        assert "SECRET" not in str(caught.value)
    assert monotonic() - begun < 10


def test_a_large_blob_comes_down_over_a_slow_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it takes longer than one request may, its repetitions included."""
    monkeypatch.setattr("darkroom.runtime.blobs._REQUEST_TIMEOUT", timedelta(seconds=0.75))
    monkeypatch.setattr("darkroom.runtime.blobs._RETRY_TIMEOUT", timedelta(seconds=2))
    with s3_stand_in(rate_bytes_s=4 * 2**20) as (endpoint, _):
        store = _open("s3://bucket", s3_endpoint=endpoint, s3_access_key="a", s3_secret_key="b")
        data = os.urandom(16 * 2**20 + 1)
        digest = store.put(data)
        store.get_to_file(digest, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == data
