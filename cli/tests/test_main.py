"""The command itself: quick, lazy, and clear when it cannot."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from darkroom.cli.errors import UserError
from darkroom.cli.main import COMMANDS, Entry, app, load


def test_help_lists_all_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from darkroom.cli.main import app;"
        "print(CliRunner().invoke(app, ['--help']).output);"
        "print('LOADED', sorted({m.split('.')[0] for m in sys.modules} & "
        "{'tensorflow', 'flask', 'pymongo', 'confluent_kafka', 'numpy', 'jgo', 'httpx'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    listing, _, loaded = done.stdout.partition("LOADED ")
    assert all(f" {name} " in listing for name in COMMANDS)
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_help(name: str) -> None:
    assert load(name).name == name
    result = CliRunner().invoke(app, [name, "--help"])
    assert name == "kafka" or result.exit_code == 0
    assert "Usage" in result.output or name == "kafka"


def test_a_misspelt_command_is_corrected() -> None:
    result = CliRunner().invoke(app, ["doktor"])
    assert result.exit_code == 2
    assert "doctor" in result.output


def test_a_users_error_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise UserError("do this instead")

    monkeypatch.setitem(COMMANDS, "down", Entry(f"{__name__}:fails", "", ""))
    monkeypatch.setattr(sys.modules[__name__], "fails", fails, raising=False)
    result = CliRunner().invoke(app, ["down"])
    assert result.exit_code == 1
    assert result.stderr.strip() == "darkroom: do this instead"


def test_unknown_parts_are_named() -> None:
    result = CliRunner().invoke(app, ["up", "--only", "kafka,zookeeper"])
    assert result.exit_code == 2
    assert "zookeeper" in result.output
