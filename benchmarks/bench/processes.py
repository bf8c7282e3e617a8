"""The processes under measurement: started, waited for, their processor time read, stopped."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from darkroom.cli.stack.ports import free_port
from darkroom.cli.stack.testing import Up

HOST = "127.0.0.1"
BENCHMARKS = Path(__file__).resolve().parents[1]
PEERS = BENCHMARKS.parent / ".venv" / "peers"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def environment(**more: str) -> dict[str, str]:
    """In which the modules of this package are found, and those of the peers, unknown to the product."""
    path = [str(BENCHMARKS), str(PEERS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **more}


@dataclass(frozen=True)
class Running:
    """A server's process and its port."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """User and system time that the process and its children have taken so far, in seconds."""
        return cpu_s(self.pid)


def cpu_s(pid: int) -> float:
    """Of a process and all below it, those too that have ended and were waited for (Linux). Raises
    FileNotFoundError where there is no such process."""
    below = 0.0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError):  # it has just ended, and is counted with its parent, which is read next
            below += cpu_s(int(child))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S + below


def resident_mb(pid: int) -> float:
    """Of a process and all below it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own / 1024 + sum(resident_mb(int(child)) for child in below)


@contextmanager
def stack(folder: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """Kafka, MongoDB or both, as `darkroom up` starts them: what its ready file says."""
    darkroom = str(Path(sys.executable).parent / "darkroom")
    up = Up(folder, [darkroom, "up"], "--only", ",".join(kinds), "--ports", "auto")
    try:
        yield up.ready()
    finally:
        up.stop()


@contextmanager
def server(name: str, argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """A door as a process on a free port, once it says that it is ready."""
    port = free_port()
    log = folder / f"{name}.log"
    own = {
        "DARKROOM_DATA": str(folder / name),
        "DARKROOM_COMMAND_PORT": str(port),
        "DARKROOM_COMMAND_URL": f"http://{HOST}:{port}",
        **env,
    }
    with process([sys.executable, *argv], log, environment(**own)) as pid:
        wait(pid, lambda: _ready(port), log)
        yield Running(pid, port)


def client(argv: Sequence[str], timeout_s: float, **env: str) -> str:
    """What a measuring process printed."""
    found = subprocess.run(
        [sys.executable, *argv], env=environment(**env), capture_output=True, text=True, timeout=timeout_s
    )
    if found.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{found.stderr[-2000:]}")
    return found.stdout


@contextmanager
def process(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[int]:
    """A process, stopped at the end; its output goes to `log`."""
    with log.open("w") as output:
        process = subprocess.Popen(argv, env=dict(env), stdout=output, stderr=output)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(pid: int, ready: Callable[[], bool], log: Path) -> None:
    """Until it is ready; ends the benchmark if it ends before."""
    until = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        if time.monotonic() > until or not Path(f"/proc/{pid}").exists():
            raise SystemExit(f"not started:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def _ready(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
