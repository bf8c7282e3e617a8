"""The stage: a broker, a Redis if there is one, every door, a model and a picture; and the cases played on it."""

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from bench import processes
from bench.processes import BENCHMARKS, PEERS, Running

from command_path import redis as store
from command_path.cases import Case, bare_produce, celery_threads, over_http
from darkroom.runtime.eventlog.kafka import TopicSpec, ensure_topics

API = "/api/v1/inference"
_MODELS = BENCHMARKS.parent / "models"
_MODEL = _MODELS / "bundled" / "shapes-classifier"
_PICTURE = _MODELS / "samples" / "star.jpg"
_BARE_TOPIC = "bench.bare"
_PARTITIONS = 8
_TOPIC_TIMEOUT_S = 30.0


@contextmanager
def stage(folder: Path, *, granian: bool, only: Collection[str] = ()) -> Iterator[tuple[list[Case], list[str]]]:
    """The cases, and what is missing on this machine for the others. `only`: no others than these, if given."""
    missing = []
    with ExitStack() as open_now:
        ready = open_now.enter_context(processes.stack(folder, "kafka"))
        bootstrap = ready["kafka"]
        broker = Running(ready["pids"]["kafka"], int(bootstrap.rpartition(":")[2]))
        redis = open_now.enter_context(store.redis(folder))
        celery = (PEERS / "celery").exists() and redis is not None
        if redis is None:
            missing.append("no redis-server on the PATH (Debian: apt-get install redis-server): no Celery cases")
        elif not celery:
            missing.append("Celery is not installed (make bench-peers): no Celery cases")
        if granian and not (PEERS / "granian").exists():
            missing.append("granian is not installed (make bench-peers): no granian cases")
            granian = False

        def door(name: str, *argv: str) -> Running:
            settings = _settings(folder, bootstrap, name, redis)
            return open_now.enter_context(processes.server(name, ["-m", *argv], folder, settings))

        full = door("full", "darkroom.command_api")  # always: it takes the model and the picture
        request, body = _request(folder, full)
        doors = [("report", "report"), ("no-kafka", "no-kafka")]
        if granian:
            doors += [(f"granian-{kind}", kind) for kind in ("full", "report", "no-kafka")]
        if celery:
            doors += [("celery", "celery"), ("flask", "flask")]
        cases = [over_http("full", full, {"broker": broker}, request)]
        for name, kind in doors:
            if only and name not in only:
                continue
            server = ["granian"] if name.startswith("granian-") else []
            running = door(name, "command_path.server", kind, *server)
            if kind in ("celery", "flask"):
                assert redis
                cases.append(over_http(name, running, {"redis": redis}, request, redis))
            else:
                cases.append(over_http(name, running, {"broker": broker} if kind != "no-kafka" else {}, request))
        ensure_topics(bootstrap, [TopicSpec(_BARE_TOPIC, _PARTITIONS, 1)], _TOPIC_TIMEOUT_S)
        cases.append(bare_produce(bootstrap, _topic("full"), _BARE_TOPIC, broker))
        if celery:
            assert redis
            cases.append(celery_threads(body, redis))
        yield [case for case in cases if not only or case.name in only], missing


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
        # One at once: it shows that the request is right, and is the record that the bare producer copies.
        created = client.post(f"{url}/jobs", content=body, headers={"Content-Type": "application/json"})
        assert created.status_code == 202, created.text
    head = (
        f"POST {API}/jobs HTTP/1.1\r\nHost: {processes.HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    paths = folder / "request", folder / "body.json"
    paths[0].write_bytes(head.encode() + body)
    paths[1].write_bytes(body)
    return paths
