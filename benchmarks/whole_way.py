"""The whole way, POST to readable result: jobs per second, latency at 10 and 100 jobs/s, share of each stage.

    .venv/bin/python benchmarks/whole_way.py [--jobs 300] [--seconds 10]

Starts a stack of its own on free ports, and stops it. Rates of one machine say little; what is to be compared are
the ratios, all of one run: the whole way against a bare loop of decode + LiteRT on the same picture.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "bundled" / "shapes-classifier"
API = "/api/v1/inference"
WARM_UP_JOBS = 1_000
_client = httpx.Client(timeout=60.0, limits=httpx.Limits(max_connections=100, max_keepalive_connections=100))


def client() -> httpx.Client:
    """One client for all threads: making one costs more than a request."""
    return _client


def picture() -> bytes:
    """The first sample picture of the classifier."""
    samples = sorted(p for p in (ROOT / "models" / "samples").iterdir() if p.suffix in {".png", ".jpg"})
    return samples[0].read_bytes()


def bare_loop(data: bytes, count: int = 300) -> float:
    """Pictures per second of decode, resize and invoke in one thread, without anything else."""
    interpreter = Interpreter(str(MODEL / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    _, height, width, _ = detail["shape"]
    scale, zero = detail["quantization"]
    start = time.perf_counter()
    for _ in range(count):
        import numpy as np

        image = Image.open(io.BytesIO(data)).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(image, np.float32)[None] / 255.0
        if scale:
            values = np.round(values / scale + zero)
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
        interpreter.invoke()
    return count / (time.perf_counter() - start)


def submit_and_read(urls: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    """One job to its result; times in seconds on the wall clock, as the events carry them."""
    sent = time.time()
    answer = client().post(f"{urls['command_url']}{API}/jobs", json=body)
    accepted = time.time()
    assert answer.status_code == 202, answer.text
    result = client().get(answer.json()["urls"]["result"], headers={"Prefer": "wait=60"})
    busy = 0
    while result.status_code == 503 and busy < 100:  # as many wait as the service holds at once
        busy += 1
        time.sleep(0.1)
        result = client().get(answer.json()["urls"]["result"], headers={"Prefer": "wait=60"})
    seen = time.time()
    job = result.json()
    assert result.status_code == 200, result.text
    assert job["status"] == "succeeded", job
    events = client().get(f"{urls['query_url']}{API}/jobs/{job['id']}/events").json()["items"]
    at = {e["type"].split(".")[2]: datetime.fromisoformat(e["time"]).timestamp() for e in map(event_of, events)}
    return {
        "busy": busy,
        "whole": seen - sent,
        "accept": accepted - sent,
        "queued": at["execution-started"] - at["created"],
        "run": at["execution-succeeded"] - at["execution-started"],
        "model": (job["timing"]["decode_ms"] + job["timing"]["inference_ms"]) / 1000,
        "read": seen - at["execution-succeeded"],
    }


def event_of(item: dict[str, Any]) -> dict[str, Any]:
    """The CloudEvent of an item of the events list."""
    return item.get("event", item)


def closed(urls: dict[str, str], body: dict[str, Any], jobs: int, threads: int) -> float:
    """Jobs per second when `threads` clients submit as fast as they are answered, until all are readable."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        answers = list(
            pool.map(lambda _: client().post(f"{urls['command_url']}{API}/jobs", json=body), range(jobs))
        )
        for answer in answers:  # the clients are done submitting; one reader waits for each job in turn
            job = client().get(answer.json()["urls"]["result"], headers={"Prefer": "wait=60"}).json()
            assert job.get("status") == "succeeded", job
    return jobs / (time.perf_counter() - start)


def paced(urls: dict[str, str], body: dict[str, Any], rate: float, seconds: float) -> list[dict[str, Any]]:
    """Jobs at a fixed rate, whatever the answers do."""
    start = time.perf_counter() + 0.2
    count = int(rate * seconds)

    def one(i: int) -> dict[str, Any]:
        time.sleep(max(0.0, start + i / rate - time.perf_counter()))
        return submit_and_read(urls, body)

    with ThreadPoolExecutor(min(64, count)) as pool:
        return list(pool.map(one, range(count)))


def report(rate: float, rows: list[dict[str, Any]]) -> None:
    whole = sorted(row["whole"] * 1000 for row in rows)
    p50, p99 = statistics.median(whole), whole[min(len(whole) - 1, int(len(whole) * 0.99))]
    busy = sum(row["busy"] for row in rows)
    print(f"at {rate:g} jobs/s: {len(rows)} jobs, p50 {p50:.0f} ms, p99 {p99:.0f} ms, {busy} times too busy")
    for stage in ("accept", "queued", "run", "model", "read"):
        values = [row[stage] * 1000 for row in rows]
        share = statistics.median(row[stage] / row["whole"] for row in rows)
        print(f"  {stage:<7} median {statistics.median(values):6.1f} ms   {share:5.0%} of the way")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    data = picture()
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        ready = Path(folder) / "ready.json"
        darkroom = str(Path(sys.executable).parent / "darkroom")
        stack = subprocess.Popen(
            [darkroom, "up", "--ports", "auto", "--data", f"{folder}/data", "--ready-file", str(ready)],
            stdout=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 120
            while not ready.exists():
                assert stack.poll() is None, "the stack did not start"
                assert time.monotonic() < until, "the stack was not ready in time"
                time.sleep(0.1)
            urls = json.loads(ready.read_text())
            subprocess.run(
                [darkroom, "models", "add", "--bundled", "--ready-file", str(ready)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            kept = client().post(f"{urls['command_url']}{API}/media", files={"file": data}).json()
            body = {"model": "shapes-classifier", "inputs": [{"media": kept["digest"]}]}
            closed(urls, body, WARM_UP_JOBS, 16)  # children, models, and above all the broker's compiled code
            bare = bare_loop(data)
            rate = closed(urls, body, options.jobs, 16)
            print(f"bare decode + LiteRT, one thread: {bare:.0f} pictures/s")
            print(f"submit to readable, 16 clients: {rate:.0f} jobs/s = {rate / bare:.3f} of bare")
            for paced_rate in (10.0, 100.0):
                report(paced_rate, paced(urls, body, paced_rate, options.seconds))
        finally:
            stack.terminate()
            stack.wait(30)


if __name__ == "__main__":
    main()
