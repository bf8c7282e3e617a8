"""Archives are unpacked only as far as they are harmless."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.executor import archive
from darkroom.executor.problems import ModelError

PB = b"a graph"


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    content = PB if kind == tarfile.REGTYPE else b""
    entry.size = len(content)
    return entry, content


def tar(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:  # type: ignore[call-overload]
        for entry, content in members:
            file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def refusal(content: bytes, into: Path, limits: archive.Limits | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        archive.unpack(content, into, limits)
    assert caught.value.problem.type == "urn:darkroom:problem:model-invalid"
    return caught.value.problem.detail


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("top", ["", "./", "model/"])
def test_flat_or_in_one_folder(top: str, mode: str, tmp_path: Path) -> None:
    content = tar(member(f"{top}saved_model.pb"), member(f"{top}variables/variables.index"), mode=mode)
    folder = archive.unpack(content, tmp_path)
    assert (folder / "saved_model.pb").read_bytes() == (folder / "variables/variables.index").read_bytes() == PB


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("../evil"), "unsafe name"),
        (member("a/../../evil"), "unsafe name"),
        (member("/etc/evil"), "unsafe name"),
        (member("a\\..\\evil"), "unsafe name"),
        (member("x" * 600), "unsafe name"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "neither a plain file"),
        (member("link", tarfile.LNKTYPE, "saved_model.pb"), "neither a plain file"),
        (member("device", tarfile.CHRTYPE), "neither a plain file"),
        (member("pipe", tarfile.FIFOTYPE), "neither a plain file"),
        (member("saved_model.pb"), "File exists"),
        (member("saved_model.pb/below"), "cannot be unpacked"),
    ],
)
def test_an_entry_that_could_do_harm_is_refused(
    bad: tuple[tarfile.TarInfo, bytes], words: str, tmp_path: Path
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    assert words in refusal(tar(member("saved_model.pb"), bad), inside)
    assert list(tmp_path.iterdir()) == [inside]
    assert {path.name for path in inside.rglob("*")} <= {"saved_model.pb", "a"}


def test_more_entries_or_bytes_than_allowed_are_refused(tmp_path: Path) -> None:
    many = tar(*(member(f"f{number}") for number in range(20)))
    (tmp_path / "a").mkdir()
    assert "more than 10 entries" in refusal(many, tmp_path / "a", archive.Limits(entries=10))
    (tmp_path / "b").mkdir()
    assert "more than 20 bytes" in refusal(many, tmp_path / "b", archive.Limits(size_bytes=20))
    assert sum(path.stat().st_size for path in (tmp_path / "b").iterdir()) <= 20
    # A header of its own that unpacks to far more than the limit, where no entry's size would show it.
    bomb, content = member("saved_model.pb")
    bomb.pax_headers = {"comment": "x" * 50_000_000}
    (tmp_path / "c").mkdir()
    assert "more bytes" in refusal(
        tar((bomb, content)), tmp_path / "c", archive.Limits(entries=5, size_bytes=10_000)
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"\x1f\x8b" + b"\0" * 30, tar(member("other.txt")), tar(member("saved_model.pb"))[:60]],
    ids=["empty", "text", "broken-gzip", "no-model", "cut"],
)
def test_what_is_no_model_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    assert refusal(content, tmp_path)


def test_the_same_folder_packs_to_the_same_bytes(testdata: Path, tmp_path: Path) -> None:
    folder = testdata / "models/savedmodel/vww_96_person"
    first, second = io.BytesIO(), io.BytesIO()
    archive.pack(folder, first)
    archive.pack(folder, second)
    assert first.getvalue() == second.getvalue()
    unpacked = archive.unpack(first.getvalue(), tmp_path)
    files: Callable[[Path], dict[Path, bytes]] = lambda top: {  # noqa: E731 - one use, twice
        path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }
    assert files(unpacked) == files(folder)
    with pytest.raises(ModelError, match="not a SavedModel"):
        archive.pack(folder / "variables", io.BytesIO())
