"""The service as a process: `python -m darkroom.query_api`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from darkroom.cli.stack.ports import free_port
from darkroom.query_api.__main__ import main

DEADLINE_S = 30.0


@pytest.fixture
def process(mongodb: str, log: Any, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    environment = os.environ | {
        "DARKROOM_MONGODB": mongodb,
        "DARKROOM_MONGODB_DATABASE": log.database.name,
        "DARKROOM_QUERY_PORT": str(port),
        "DARKROOM_BLOBS": f"file://{tmp_path}/blobs",
        "DARKROOM_DATA": str(tmp_path),
    }
    with open(tmp_path / "log", "wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "darkroom.query_api"], env=environment, stderr=output, stdout=output
        )
    try:
        yield started, f"http://127.0.0.1:{port}"
    finally:
        started.kill()
        started.wait(5)


def ready(base: str, process: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + DEADLINE_S
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(transport=transport, timeout=2) as client:
        while monotonic() < deadline:
            assert process.poll() is None, "it ended by itself"
            try:
                if client.get(f"{base}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                continue
    pytest.fail("not ready in time")


def test_it_serves_and_ends_on_sigterm_with_a_stream_open(process: Any, log: Any) -> None:
    started, base = process
    job = log.create()
    ready(base, started)
    prefix = f"{base}/api/v1/inference"
    assert httpx.get(f"{prefix}/jobs/{job}", timeout=5).json()["status"] == "queued"
    headers = {"Accept": "text/event-stream"}
    with httpx.stream("GET", f"{prefix}/jobs/{job}/events", headers=headers, timeout=DEADLINE_S) as stream:
        lines = stream.iter_lines()
        assert any(line.startswith("data: ") for line in lines)
        begun = monotonic()
        started.send_signal(signal.SIGTERM)
        assert list(lines)[-1] == ""  # the stream ends whole, it is not cut off
    assert started.wait(10) == 0
    assert monotonic() - begun < 5


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DARKROOM_QUERY_PORT", "eighty")
    assert main() == 2
    assert "QUERY_PORT" in capsys.readouterr().err
