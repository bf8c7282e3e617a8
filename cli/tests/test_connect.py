"""How a command finds its stack."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from darkroom.cli.connect import NoStack, find_stack
from darkroom.cli.stack.places import last_ready_file
from darkroom.cli.stack.readyfile import write_ready_file

READY: dict[str, Any] = {
    "command_url": "http://127.0.0.1:1",
    "query_url": "http://127.0.0.1:2",
    "kafka": "127.0.0.1:3",
    "mongodb": "mongodb://127.0.0.1:4",
    "topics": {"jobs": "j", "models": "m"},
    "data": "/somewhere",
    "pids": {"kafka": 5, "executor": [6, 7]},
}


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DARKROOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def written(path: Path, **changes: Any) -> Path:
    write_ready_file(path, {**READY, "up_pid": os.getpid(), **changes})
    return path


def test_without_any_it_says_which_to_give() -> None:
    with pytest.raises(NoStack) as told:
        find_stack()
    for way in ("darkroom up", "--ready-file", "DARKROOM_READY_FILE", "DARKROOM_COMMAND_URL"):
        assert way in str(told.value)


def test_a_ready_file_is_read_whole(tmp_path: Path) -> None:
    stack = find_stack(written(tmp_path / "r"))
    assert (stack.command_url, stack.kafka, stack.topics["jobs"]) == ("http://127.0.0.1:1", "127.0.0.1:3", "j")
    assert stack.pids == {"kafka": [5], "executor": [6, 7]}
    assert stack.data == Path("/somewhere")


def test_order_option_then_variable_then_settings_then_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written(last_ready_file(), kafka="last")
    assert find_stack().kafka == "last"
    monkeypatch.setenv("DARKROOM_KAFKA", "settings")
    assert find_stack().kafka == "settings"
    monkeypatch.setenv("DARKROOM_READY_FILE", str(written(tmp_path / "v", kafka="variable")))
    assert find_stack().kafka == "variable"
    assert find_stack(written(tmp_path / "o", kafka="option")).kafka == "option"


def test_a_stack_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        gone = ended.pid
    with pytest.raises(NoStack, match="is gone"):
        find_stack(written(tmp_path / "r", up_pid=gone))
    written(last_ready_file(), up_pid=gone)
    with pytest.raises(NoStack, match="no running stack"):
        find_stack()


@pytest.mark.parametrize("content", ["{", "[]", '{"pids": {}}'])
def test_rubbish_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "r").write_text(content)
    with pytest.raises(NoStack, match="not a ready file"):
        find_stack(tmp_path / "r")


def test_a_part_that_is_needed_and_absent_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "r", command_url=None)
    assert find_stack(path).command_url == ""
    with pytest.raises(NoStack, match="has no command_url"):
        find_stack(path, needs=["command_url"])


def test_topics_and_a_database_that_are_set_win_over_the_ready_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = written(tmp_path / "r", mongodb_database="d")
    stack = find_stack(path)
    assert (stack.topics["jobs"], stack.topics["models"], stack.mongodb_database) == ("j", "m", "d")
    monkeypatch.setenv("DARKROOM_TOPIC_JOBS", "restored")
    monkeypatch.setenv("DARKROOM_MONGODB_DATABASE", "new")
    stack = find_stack(path)
    assert (stack.topics["jobs"], stack.topics["models"], stack.mongodb_database) == ("restored", "m", "new")
    assert stack.kafka == "127.0.0.1:3"
