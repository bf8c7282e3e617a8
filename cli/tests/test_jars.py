"""Fetching Kafka's jars: nothing wrong ever enters the folder."""

from hashlib import sha256
from pathlib import Path

import pytest

from darkroom.cli.stack import jars
from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.jars import Jar, damaged_jars, fetch_jars, listed_jars, missing_jars

BODIES = {"alpha": b"a" * 10, "beta": b"b" * 20}
WANTED = [Jar("group", name, "1", len(body), sha256(body).hexdigest()) for name, body in BODIES.items()]


class Source:
    """In place of the network: what it holds, and what was asked of it."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self.bodies = bodies
        self.asked: list[str] = []

    def download(self, jar: Jar, scratch: Path) -> Path:
        self.asked.append(jar.artifact)
        path = scratch / f"{jar.file_name}.fetched"
        path.write_bytes(self.bodies[jar.artifact])
        return path


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    found = Source(dict(BODIES))
    monkeypatch.setattr(jars, "_download", found.download)
    return found


def test_fetches_what_is_missing_once(tmp_path: Path, source: Source) -> None:
    told: list[tuple[int, int]] = []
    assert fetch_jars(tmp_path, WANTED, lambda done, total: told.append((done, total))) == WANTED
    assert told[0] == (0, 30)
    assert told[-1] == (30, 30)
    assert fetch_jars(tmp_path, WANTED) == []
    assert sorted(source.asked) == ["alpha", "beta"]


def test_a_changed_jar_is_refused_and_does_not_stay(tmp_path: Path, source: Source) -> None:
    source.bodies["beta"] = b"x" * 20
    with pytest.raises(StackError, match=r"beta-1\.jar has sha256"):
        fetch_jars(tmp_path, WANTED)
    assert not (tmp_path / "beta-1.jar").exists()
    assert not list(tmp_path.glob(".fetch-*"))


def test_verify_finds_a_damaged_one_of_the_right_size(tmp_path: Path, source: Source) -> None:
    fetch_jars(tmp_path, WANTED)
    (tmp_path / "alpha-1.jar").write_bytes(b"x" * 10)
    assert missing_jars(tmp_path, WANTED) == []
    assert [jar.artifact for jar in damaged_jars(tmp_path, WANTED)] == ["alpha"]
    assert [jar.artifact for jar in fetch_jars(tmp_path, WANTED, verify=True)] == ["alpha"]
    assert damaged_jars(tmp_path, WANTED) == []


def test_what_a_killed_fetch_left_is_cleared_and_a_half_one_fetched_again(tmp_path: Path, source: Source) -> None:
    (tmp_path / ".fetch-old").mkdir()
    (tmp_path / ".fetch-old" / "alpha-1.jar").write_bytes(b"aaa")
    (tmp_path / "alpha-1.jar").write_bytes(b"aaa")
    fetch_jars(tmp_path, WANTED)
    assert damaged_jars(tmp_path, WANTED) == []
    assert not list(tmp_path.glob(".fetch-*"))


def test_the_list_is_one_kafka_and_names_each_jar_once() -> None:
    listed = listed_jars()
    assert {jar.version for jar in listed if jar.group == "org.apache.kafka"} == {"4.3.1"}
    assert len({jar.file_name for jar in listed}) == len(listed) == 92
