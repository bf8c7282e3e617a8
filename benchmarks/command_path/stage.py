"""The stage: a broker, a Redis if there is one, every door, a model and a picture; and the cases played on it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from command_path import processes
from command_path.cases import Case, bare_produce, celery_threads, over_http
from command_path.processes import BENCHMARKS, PEERS, Running
from darkroom.runtime.eventlog.kafka import TopicSpec, ensure_topics

API = "/api/v1/inference"
_MODELS = BENCHMARKS.parent / "models"
_MODEL = _MODELS / "bundled" / "shapes-classifier"
_PICTURE = _MODELS / "samples" / "star.jpg"
_BARE_TOPIC = "bench.bare"
_PARTITIONS = 8
_TOPIC_TIMEOUT_S = 30.0


@contextmanager
def stage(folder: Path, *, granian: bool) -> Iterator[tuple[list[Case], list[str]]]:
    """The cases, and what is missing on this machine for the others."""
    missing = []
    celery = (PEERS / "celery").exists()
    with ExitStack() as open_now:
        bootstrap, broker = open_now.enter_context(processes.kafka(folder))
        redis = open_now.enter_context(processes.redis(folder))
        if not celery:
            missing.append("Celery is not installed (make bench-peers): its cases are left out")
        if redis is None:
            missing.append("redis-server is not on the PATH (Debian: apt-get install redis-server): likewise")
        if granian and not (PEERS / "granian").exists():
            missing.append("granian is not installed (make bench-peers): its cases are left out")
            granian = False

        def door(name: str, kind: str, *server: str) -> Running:
            argv = ["darkroom.command_api"] if name == "full" else ["command_path.server", kind, *server]
            return open_now.enter_context(
                processes.server(name, ["-m", *argv], folder, _settings(folder, bootstrap, name, redis))
            )

        full = door("full", "full")
        request, body = _request(folder, full)
        servers = {"broker": broker}

        def case(name: str, kind: str, *server: str) -> Case:
            with_redis = redis if kind in ("celery", "flask") else None
            others = {"redis": with_redis} if with_redis else servers if kind != "no-kafka" else {}
            running = full if name == "full" else door(name, kind, *server)
            return over_http(name, running, others, request, with_redis)

        ensure_topics(bootstrap, [TopicSpec(_BARE_TOPIC, _PARTITIONS, 1)], _TOPIC_TIMEOUT_S)
        cases = [case("full", "full"), case("report", "report"), case("no-kafka", "no-kafka")]
        cases.append(bare_produce(bootstrap, _topic("full"), _BARE_TOPIC, broker))
        if granian:
            cases += [case(f"granian-{kind}", kind, "granian") for kind in ("full", "report", "no-kafka")]
        if celery and redis:
            cases += [case("celery", "celery"), case("flask", "flask"), celery_threads(body, redis)]
        yield cases, missing


def _topic(door: str) -> str:
    return f"bench.{door}.jobs"


def _settings(folder: Path, bootstrap: str, door: str, redis: Running | None) -> dict[str, str]:
    """Each door has a topic of its own: its tail must not read what the others write."""
    return {
        "DARKROOM_KAFKA": bootstrap,
        "DARKROOM_BLOBS": f"file://{folder / 'blobs'}",
        "DARKROOM_TOPIC_JOBS": _topic(door),
        "DARKROOM_PARTITIONS": str(_PARTITIONS),
        **({"BENCH_REDIS": f"redis://{processes.HOST}:{redis.port}/0"} if redis else {}),
    }


def _request(folder: Path, door: Running) -> tuple[Path, Path]:
    """Registers the model, uploads the picture, and writes down the request that everybody sends, and its body."""
    url = f"http://{processes.HOST}:{door.port}{API}"
    description = (_MODEL / "description.json").read_text()
    file = (_MODEL / "model.tflite").read_bytes()
    with httpx.Client(timeout=30.0) as client:
        registered = client.put(
            f"{url}/models/shapes-classifier/versions/1", data={"description": description}, files={"file": file}
        )
        assert registered.status_code == 202, registered.text
        kept = client.post(f"{url}/media", files={"file": _PICTURE.read_bytes()})
        assert kept.status_code == 201, kept.text
    body = json.dumps({"model": "shapes-classifier", "inputs": [{"media": kept.json()["digest"]}]}).encode()
    head = (
        f"POST {API}/jobs HTTP/1.1\r\nHost: {processes.HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    paths = folder / "request", folder / "body.json"
    paths[0].write_bytes(head.encode() + body)
    paths[1].write_bytes(body)
    return paths
