"""The doctor finds what is wrong and says how to mend it."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from darkroom.cli.checks import machine
from darkroom.cli.checks.finding import State
from darkroom.cli.main import app
from darkroom.cli.stack.readyfile import write_ready_file


def test_this_machine_is_fit() -> None:
    """What `make test` needs is what the doctor looks for."""
    for check in (machine.python, machine.packages, machine.java, machine.jars, machine.mongod, machine.chromium):
        found = check()
        assert found.state is State.GOOD, found


def test_missing_jars_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = machine.jars()
    assert found.state is State.BROKEN
    assert "92 of 92" in found.detail
    assert "darkroom fetch" in found.mend


def test_missing_chromium_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.chromium()
    assert found.state is State.LACKING
    assert "apt-get install chromium" in found.mend


def test_a_stack_whose_parts_are_away_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ready = {
        "command_url": "http://127.0.0.1:1",
        "query_url": None,
        "kafka": "",
        "mongodb": "",
        "topics": {"jobs": "j", "models": "m"},
        "blobs": f"file://{tmp_path}",
        "data": str(tmp_path),
        "pids": {"command-api": os.getpid()},
        "up_pid": os.getpid(),
    }
    write_ready_file(tmp_path / "ready.json", ready)
    result = CliRunner().invoke(app, ["doctor", "--ready-file", str(tmp_path / "ready.json")])
    assert result.exit_code == 1
    assert "BROKEN   command API" in result.output


def test_servers_that_run_are_well(kafka: str, mongodb: str, tmp_path: Path) -> None:
    ready = {
        "command_url": None,
        "query_url": None,
        "kafka": kafka,
        "mongodb": mongodb,
        "topics": {"jobs": "j", "models": "m"},
        "data": str(tmp_path),
        "pids": {},
        "up_pid": os.getpid(),
    }
    write_ready_file(tmp_path / "ready.json", ready)
    result = CliRunner().invoke(app, ["doctor", "--ready-file", str(tmp_path / "ready.json")])
    assert result.exit_code == 0, result.output
    assert "ok       MongoDB" in result.output
    assert "no topic darkroom.heartbeats.v1, j, m" in result.output
