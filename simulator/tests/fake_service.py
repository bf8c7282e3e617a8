"""A command API of a few lines, as an httpx transport: enough of http-api.md to run a simulation against."""

import json
import threading
from base64 import b64decode
from collections import Counter
from uuid import uuid4

import httpx

PREFIX = "/api/v1/inference"


class FakeService:
    """Keeps jobs in a dict. `away`: the first so many requests get a 503. `wrong`: how to answer creates
    instead."""

    def __init__(self, away: int = 0, wrong: int | None = None) -> None:
        self._lock = threading.Lock()
        self._away = away
        self._wrong = wrong
        self.states: dict[str, str] = {}
        self._by_key: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.keys: list[str | None] = []
        self.transport = httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        with self._lock:
            path = request.url.path.removeprefix(PREFIX)
            self.calls[f"{request.method} {path.split('/')[1]}"] += 1
            self.keys.append(request.headers.get("Idempotency-Key"))
            if self._away > 0:
                self._away -= 1
                return _problem(503, "log-unavailable", {"Retry-After": "0"})
            return self._answer(request, path.strip("/").split("/"), content)

    def _answer(self, request: httpx.Request, path: list[str], content: bytes) -> httpx.Response:
        key = request.headers.get("Idempotency-Key", "")
        if path == ["media"]:
            return httpx.Response(201, json={"digest": "sha256:" + "0" * 64})
        if request.method == "PUT" or path == ["jobs"]:
            return self._create(request, path, content, key)
        job_id = path[1]
        state = self.states[job_id]
        if state == "deleted":
            return _problem(410, "deleted")
        if request.method == "DELETE":
            self.states[job_id] = "deleted"
        elif path[2] == "runs" and state != "queued":
            self.states[job_id] = "queued"
        elif path[2] == "cancel" and state == "queued":
            self.states[job_id] = "cancelled"
        else:
            return _problem(409, "state")
        return httpx.Response(202, json={"id": job_id})

    def _create(self, request: httpx.Request, path: list[str], content: bytes, key: str) -> httpx.Response:
        job_id = path[1] if request.method == "PUT" else self._by_key.get(key, str(uuid4()))
        if job_id in self.states:
            if request.method == "PUT" and self.states[job_id] == "deleted":
                return _problem(410, "deleted")
            return httpx.Response(202, json={"id": job_id})
        if self._wrong is not None:
            return _problem(self._wrong, "internal")
        bad = _fault_in(request, content)
        if bad:
            return _problem(*bad)
        self._by_key[key] = job_id
        execute = b'"execute":false' not in content.replace(b" ", b"")
        self.states[job_id] = "queued" if execute else "created"
        return httpx.Response(202, json={"id": job_id})


def _fault_in(request: httpx.Request, content: bytes) -> tuple[int, str] | None:
    pictures = content
    if request.headers["Content-Type"] == "application/json":
        body = json.loads(content)
        if "modle" in body:
            return 422, "invalid-request"
        if "sha256:" in str(body["inputs"]) and "0" * 64 not in str(body["inputs"]):
            return 422, "unknown-media"
        pictures = b"".join(b64decode(i["data"].partition(",")[2]) for i in body["inputs"] if "data" in i)
    if b"Dear service" in pictures:
        return 415, "unsupported-media"
    if (30_000).to_bytes(4, "big") * 2 in pictures:
        return 413, "picture-too-large"
    png = pictures.find(b"\x89PNG")
    if b"no-such-model" in content:
        return 422, "unknown-model"
    if png >= 0 and b"IEND" not in pictures[png:]:
        return 422, "picture-broken"
    return None


def _problem(status: int, name: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(
        status,
        json={"type": f"urn:darkroom:problem:{name}", "title": name, "status": status, "detail": "because"},
        headers=headers,
    )
