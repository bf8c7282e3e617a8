"""The demonstration as a newcomer runs it, and that it leaves nothing behind however it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DEMO = (sys.executable, "-u", "-m", "darkroom.cli", "demo")
TIMEOUT_S = 240


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for everything temporary of one demonstration; nothing that runs may name it afterwards."""
    yield tmp_path
    assert running_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def running_in(folder: Path) -> list[str]:
    """The command lines of all processes that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_the_whole_demonstration(place: Path) -> None:
    done = subprocess.run(
        DEMO,
        env={**os.environ, "TMPDIR": str(place), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every outcome was the expected one" in done.stdout
    lines = re.findall(r"^Inference job \(id: [0-9a-f-]{36}\) ([a-z-]+): ([a-z]+)$", done.stdout, re.MULTILINE)
    shown = set(lines)
    assert ("execution-succeeded", "succeeded") in shown
    assert ("execution-failed", "failed") in shown
    assert ("execution-requested", "queued") in shown
    assert ("cancelled", "cancelled") in shown
    assert ("deleted", "deleted") in shown
    for status in ("succeeded", "failed", "cancelled", "deleted", "refused"):
        assert re.search(rf"^✓ .* {status} ", done.stdout, re.MULTILINE)
    assert "✗" not in done.stdout
    assert "MobileNet V2" in done.stdout  # the test data is there, so real models ran on real photos
    assert "switched to generation 2" in done.stdout
    assert "the read models equal the log" in done.stdout
    assert re.search(r"set-up took [\d.]+ s, the first result was there after [\d.]+ s", done.stdout)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_stopped_half_way_it_leaves_nothing_running(place: Path, stop: signal.Signals) -> None:
    with subprocess.Popen(
        DEMO,
        env={**os.environ, "TMPDIR": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A run in the background inherits an ignored SIGINT; a person at a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as demo:
        try:
            assert demo.stdout is not None
            # SIGINT in the middle of the start, SIGTERM while jobs run.
            wanted = "kafka" if stop is signal.SIGINT else "execution-started"
            before = []
            for line in demo.stdout:
                before.append(line)
                if wanted in line:
                    break
            assert wanted in before[-1], "".join(before)
            demo.send_signal(stop)
            rest, _ = demo.communicate(timeout=90)
            assert demo.returncode == 130, rest
            assert "nothing is left running" in rest
        finally:
            demo.kill()
