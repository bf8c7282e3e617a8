"""The data folder: ours, whole, and one stack's at a time."""

from pathlib import Path

import pytest

from darkroom.cli.stack import datafolder
from darkroom.cli.stack.errors import StackError


def test_reset_empties_one_of_ours(tmp_path: Path) -> None:
    with datafolder.opened(tmp_path / "data", 1, reset=False) as folder:
        (folder / "kafka").mkdir()
        (folder / "kafka" / "log").write_text("old")
    with datafolder.opened(tmp_path / "data", 3, reset=True) as folder:
        assert not (folder / "kafka").exists()


def test_reset_refuses_a_folder_of_someone_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StackError, match="was not made by"), datafolder.opened(tmp_path, 1, reset=True):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_another_number_of_replicas_is_refused(tmp_path: Path) -> None:
    with datafolder.opened(tmp_path, 1, reset=False):
        pass
    with pytest.raises(StackError, match="--replicas 1"), datafolder.opened(tmp_path, 3, reset=False):
        pass


def test_locked_while_in_use_even_against_reset(tmp_path: Path) -> None:
    with datafolder.opened(tmp_path, 1, reset=False) as folder:
        (folder / "kafka").mkdir()
        with pytest.raises(StackError, match="in use by another"), datafolder.opened(tmp_path, 1, reset=True):
            pass
        assert (folder / "kafka").exists()
