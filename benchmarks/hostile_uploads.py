"""How long small commands take while hostile pictures are uploaded, against the same without them.

    .venv/bin/python benchmarks/hostile_uploads.py [--rounds 3] [--seconds 20] [--clients 10] [--tree FOLDER]

Starts a broker and a command API of its own on free ports, and stops them. Rounds of quiet and of attack take
turns. Small commands (create by digest, cancel, delete) come at a fixed rate over a few connections, each timed
from when it was due, so that a stall is counted in full. `--tree` takes the service's code from another checkout.
"""

import argparse
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from darkroom.cli.stack.ports import free_port
from darkroom.cli.stack.testing_broker import own_broker
from darkroom.runtime.decoding.testing import black_png, hostile_uploads

ROOT = Path(__file__).resolve().parents[1]
API = "/api/v1/inference"
RATE_PER_S = 20
CONNECTIONS = 4
PIXELS_MAX = 50_000_000
MODEL = {
    "kind": "classification",
    "runtime": "litert",
    "labels": ["a", "b"],
    "output": {"format": "scores"},
    "input": {"width_px": 8, "height_px": 8, "dtype": "uint8"},
}


@contextmanager
def command_api(kafka: str, folder: Path, tree: Path) -> Iterator[tuple[str, int]]:
    """The base URL and process id of a command API from the sources in `tree`."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    settings = {
        "PYTHONPATH": os.pathsep.join(str(path) for path in sorted(tree.glob("*/src"))),
        "DARKROOM_KAFKA": kafka,
        "DARKROOM_PARTITIONS": "4",
        "DARKROOM_DATA": str(folder),
        "DARKROOM_BLOBS": f"file://{folder}/blobs",
        "DARKROOM_COMMAND_PORT": str(port),
    }
    with (folder / "command-api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "darkroom.command_api"], env=os.environ | settings, stdout=log, stderr=log
        )
        try:
            until = time.monotonic() + 60
            while True:
                with suppress(httpx.TransportError):
                    if httpx.get(url + "/health/ready", timeout=5).status_code == 200:
                        break
                assert process.poll() is None, (folder / "command-api.log").read_text()
                assert time.monotonic() < until, "the command API is not ready"
                time.sleep(0.1)
            yield url + API, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def attack(url: str, clients: int) -> None:
    """Uploads hostile pictures, each a little different, until stdin ends; then prints what was answered."""
    pictures = [data for _, data in hostile_uploads(PIXELS_MAX)]
    stopped, answers = threading.Event(), Counter[str]()
    print("ready", flush=True)
    sys.stdin.readline()

    def work(number: int) -> None:
        with httpx.Client(timeout=60) as client:
            for turn in itertools.count(number):
                if stopped.is_set():
                    return
                try:
                    answer = client.post(f"{url}/media", content=pictures[turn % len(pictures)] + os.urandom(16))
                    kind = answer.json().get("type", "").rpartition(":")[2]
                    answers[f"{answer.status_code} {kind}".strip()] += 1
                    if answer.status_code == 503:
                        stopped.wait(0.05)  # not even that as long as Retry-After says
                except httpx.HTTPError as error:
                    answers[type(error).__name__] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopped.set()
    for thread in threads:
        thread.join()
    print(json.dumps(answers))


@contextmanager
def attacked(url: str, clients: int, answers: Counter[str]) -> Iterator[None]:
    """Hostile clients, in a process of their own."""
    command = [sys.executable, __file__, "--attack", url, "--clients", str(clients)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(1.0)  # the first uploads are there by then
        try:
            yield
        finally:
            process.stdin.close()
            answers.update(json.loads(process.stdout.read()))


def small_commands(url: str, digest: str, seconds: float, statuses: Counter[int]) -> list[float]:
    """Times in seconds, from when each command was due to its answer."""
    begun = time.monotonic()

    def connection(number: int) -> list[float]:
        took, job_id = [], ""
        with httpx.Client(base_url=url, timeout=60) as client:
            for turn in range(int(seconds * RATE_PER_S / CONNECTIONS)):
                due = begun + (turn * CONNECTIONS + number) / RATE_PER_S
                time.sleep(max(0.0, due - time.monotonic()))
                if turn % 3 == 0 or not job_id:
                    answer = client.post("/jobs", json={"model": "m", "inputs": [{"media": digest}]})
                    job_id = answer.json().get("id", "")
                elif turn % 3 == 1:
                    answer = client.post(f"/jobs/{job_id}/cancel")
                else:
                    answer = client.delete(f"/jobs/{job_id}")
                took.append(time.monotonic() - due)
                statuses[answer.status_code] += 1
        return took

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [took for some in pool.map(connection, range(CONNECTIONS)) for took in some]


def percentile(values: list[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class Watch:
    """The largest resident memory of a process group's members, in MB: the API's workers, and its decoders."""

    def __init__(self, arbiter: int) -> None:
        self._arbiter = arbiter
        self._stopped = threading.Event()
        self.peak_mb: dict[str, int] = {}
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped.wait(0.05):
            for worker in _children(self._arbiter):
                self._note("worker", worker)
                for decoder in _children(worker):
                    self._note("decoder", decoder)

    def _note(self, name: str, pid: int) -> None:
        with suppress(OSError):
            resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            resident_mb = resident_pages * os.sysconf("SC_PAGE_SIZE") // 2**20
            self.peak_mb[name] = max(self.peak_mb.get(name, 0), resident_mb)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def measure(rounds: int, seconds: float, clients: int, tree: Path) -> None:
    quiet, under_attack = list[float](), list[float]()
    ratios, statuses, answers = list[float](), Counter[int](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        folder = Path(name) / "api"
        folder.mkdir()
        with own_broker(Path(name)) as broker, command_api(broker.bootstrap, folder, tree) as (url, pid):
            form = {"description": json.dumps(MODEL)}
            file = {"file": ("m.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(64))}
            assert httpx.put(f"{url}/models/m/versions/1", data=form, files=file, timeout=30).status_code == 202
            digest = httpx.post(f"{url}/media", content=black_png(8, 6), timeout=30).json()["digest"]
            small_commands(url, digest, 5, Counter())  # warm-up
            with Watch(pid) as before:
                time.sleep(0.5)
            with Watch(pid) as watch:
                for _ in range(rounds):
                    alone = small_commands(url, digest, seconds, statuses)
                    with attacked(url, clients, answers):
                        beside = small_commands(url, digest, seconds, statuses)
                    ratios.append(percentile(beside, 0.99) / percentile(alone, 0.99))
                    quiet += alone
                    under_attack += beside
    for title, values in (("quiet", quiet), (f"{clients} hostile clients", under_attack)):
        figures = ", ".join(
            f"p{share:g} {percentile(values, share / 100) * 1000:.1f} ms" for share in (50, 99, 100)
        )
        print(f"{title}: {len(values)} small commands, {figures}")
    print(f"ratio of p99, per round: {', '.join(f'{ratio:.1f}' for ratio in ratios)}")
    print(f"small commands' statuses: {dict(statuses)}")
    print(f"uploads' answers: {dict(answers.most_common())}")
    print(f"resident memory in MB: before {before.peak_mb}, at most {watch.peak_mb}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.attack:
        attack(given.attack, given.clients)
    else:
        measure(given.rounds, given.seconds, given.clients, given.tree.resolve())


if __name__ == "__main__":
    main()
