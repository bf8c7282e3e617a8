"""The command API as a process, and a client of it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Event
from time import monotonic

import httpx

TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(64)
DESCRIPTION = (
    '{"kind": "classification", "runtime": "litert", "labels": ["a", "b"], "output": {"format": "scores"}, '
    '"input": {"width_px": 8, "height_px": 8, "dtype": "uint8"}}'
)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc00000030101"
    "00c9fe92ef0000000049454e44ae426082"
)


class Service:
    """One process, and a client of it."""

    def __init__(self, environment: dict[str, str], port: int, log: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "darkroom.command_api"],
                env={**os.environ, **environment, "DARKROOM_COMMAND_PORT": str(port)},
                stdout=output,
                stderr=output,
            )
        self.client = httpx.Client(base_url=self.url + "/api/v1/inference", timeout=20)

    def wait_ready(self, timeout_s: float = 90) -> None:
        until = monotonic() + timeout_s
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(self.url + "/health/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert monotonic() < until, self.log.read_text()
            Event().wait(0.05)

    def end(self, sig: int = signal.SIGTERM) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(15)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
