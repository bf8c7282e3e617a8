"""What the commands on log and read models refuse before they ask anybody, and how they end when nobody listens."""

import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from darkroom.cli.main import app
from darkroom.cli.replayreport import conclude
from darkroom.cli.stopping import stopped_like_ctrl_c
from darkroom.projector.checksum import Checksum
from darkroom.projector.compare import Comparison
from darkroom.projector.replay import Mode, Report
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.folder import alone


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DARKROOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DARKROOM_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "--job", ""], "an empty one names nothing"),
        (["replay", "--as-of", ""], "an empty one names nothing"),
        (["replay", "--as-of", "", "--drop"], "an empty one names nothing"),
        (["replay", "--prune", "--workers", "2"], "mean nothing to --rollback"),
        (["replay", "--rollback", "--max-rate", "5"], "mean nothing to --rollback"),
        (["replay", "--job", "x", "--memory", "5"], "mean nothing to --rollback"),
        (["log", "verify", "/nosuchfolder"], "there is no folder /nosuchfolder"),
    ],
)
def test_what_means_nothing_is_refused(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


@pytest.mark.parametrize("command", [["replay", "--check"], ["quarantine", "list"]])
def test_an_address_that_is_none_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("DARKROOM_MONGODB", "mongodb://user:pass/word@host/")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    assert "the address of MongoDB (DARKROOM_MONGODB) cannot be used" in result.stderr
    assert "pass/" not in result.output
    assert "word@host" not in result.output


def test_an_export_into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ArchiveError, match="since a file stands there"), alone(folder):
            pass


@pytest.mark.parametrize("printed", ["typer.echo(line)", "Console().print(line)"])
def test_output_that_nobody_reads_ends_it_without_a_word(printed: str) -> None:
    program = (
        "import sys, typer\nfrom rich.console import Console\nfrom darkroom.cli import main\n"
        f"def endless():\n    for line in iter(lambda: 'x' * 999, None): {printed}\n"
        "sys.modules['endless'] = sys.modules['__main__']\n"
        "main.COMMANDS['status'] = main.Entry('endless:endless', '', '')\nmain.app(['status'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert (process.wait(30), said) == (141, b"")


def test_sigterm_is_ctrl_c_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopped_like_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def concluded(mode: Mode, further: int | None, equal: bool = True, **more: Any) -> tuple[bool, str]:
    rebuilt = Checksum() if equal else Checksum(1, 7)
    report = Report("jobs", {0: 9}, [Comparison("jobs", rebuilt=rebuilt)], **{"events": 9, **more})
    console = Console(file=StringIO(), record=True, width=200, soft_wrap=True)
    return conclude(console, report, mode, further), console.export_text()


def test_what_was_proved_is_said_with_its_end() -> None:
    assert concluded(Mode.CHECK, 0) == (True, "  the read models equal the log up to the live checkpoints\n")
    assert "checkpoints; 3 further events of the log are not folded yet" in concluded(Mode.CHECK, 3)[1]
    assert "was not told" in concluded(Mode.CHECK, None)[1]
    good, said = concluded(Mode.CHECK, 3, equal=False)
    assert (good, "NOT what the log says" in said) == (False, True)
    assert "no projector has folded any of the 3 events" in concluded(Mode.SWITCH, 3, events=0)[1]
    assert "no projector" not in concluded(Mode.SWITCH, 0, events=0)[1]


def test_what_becomes_of_the_generation_before_is_said() -> None:
    switched = {"switched": True, "before": 4, "generation": 5}
    assert "the one before is carried on" in concluded(Mode.SWITCH, 0, **switched)[1]
    old = concluded(Mode.SWITCH, 0, outdated=["jobs"], **switched)[1]
    assert "kept; only projectors of the old version carry it on" in old
    assert "may differ" in old
    mended = concluded(Mode.REPAIR, 0, equal=False, **switched)[1]
    assert "generation 4 is kept for a rollback, and differs from the log: `darkroom replay --prune`" in mended
