"""Asks what a plan says, many requests at one moment, and writes down every answer."""

import http.client
import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from random import Random
from time import monotonic, time
from typing import Any

from campaign.history import CANCEL, CREATE, RUN, Call
from campaign.plan import ANY, IDLE, RIGHT, STALE, Ask, Script
from darkroom.runtime.http.api import PREFIX

HOST = "127.0.0.1"
MODEL = "shapes-classifier"
TRIES_MAX = 6
_PAUSE_S = 0.3
_KEPT = ("id", "status", "version", "run", "position", "type", "job_status")
"""What the history keeps of an answer's body."""


class Clients:
    """Speaks to all instances, on connections that are kept. `history` grows as answers come."""

    def __init__(self, ports: Sequence[int], media: str, *, threads: int = 96, timeout_s: float = 8.0) -> None:
        """`media`: digest of the picture that every job is about. An answer that takes longer than `timeout_s` is
        none."""
        self._ports = ports
        self._media = media
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="client")
        self._own = threading.local()
        self._opened: list[http.client.HTTPConnection] = []
        self._numbers = count()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.history: list[Call] = []

    def close(self) -> None:
        """Ends without waiting for what is under way to be repeated."""
        self._stopping.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._opened:
            connection.close()

    def follow(self, script: Script) -> None:
        """Asks all of a script, burst by burst."""
        rng, version = Random(script.seed), 0
        for burst in script.bursts:
            asked = [self.submit(script.job_id, ask, rng.randrange(99), version) for ask in burst]
            for answered in asked:
                said = answered.result().body.get("version")
                version = max(version, said if isinstance(said, int) else 0)

    def submit(self, job_id: str, ask: Ask, instance: int, version: int = 0) -> "Future[Call]":
        """Asks in a thread of its own; the last try's answer. What has no answer is asked again through the next
        instance, if it is safe to."""
        if_match = _if_match(ask.condition, version)

        def asking() -> Call:
            for number in range(TRIES_MAX):
                call = self.ask(job_id, ask, (instance + number) % len(self._ports), if_match)
                again = call.indeterminate and (ask.key is not None or ask.method == "PUT")
                if not again or self._stopping.wait(_PAUSE_S * (number + 1)):
                    break
            return call

        return self._threads.submit(asking)

    def ask(self, job_id: str, ask: Ask, instance: int, if_match: str | None = None) -> Call:
        """One request, and what came of it."""
        path, body = self._request(job_id, ask)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Idempotency-Key": ask.key} if ask.key is not None else {}
        headers |= {"If-Match": if_match} if if_match is not None else {}
        headers |= {"Prefer": f"wait={ask.wait_s}"} if ask.wait_s else {}
        status: int | None = None
        answer: dict[str, Any] = {}
        said: dict[str, str] = {}
        error = ""
        begin_s, begin_wall_ms = monotonic(), int(time() * 1000)
        try:
            status, said, raw = self._exchange(instance, ask.method, path, body, headers)
            answer = json.loads(raw)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        call = Call(
            number=next(self._numbers),
            instance=instance,
            op=ask.op,
            method=ask.method,
            job_id=job_id,
            key=ask.key,
            variant=ask.variant,
            if_match=if_match,
            wait_s=ask.wait_s,
            begin_s=begin_s,
            begin_wall_ms=begin_wall_ms,
            end_s=monotonic(),
            end_wall_ms=int(time() * 1000),
            status=status,
            body={name: answer[name] for name in _KEPT if name in answer},
            retry_after=said.get("Retry-After"),
            location=said.get("Location"),
            error=error,
        )
        with self._lock:
            self.history.append(call)
        return call

    def _request(self, job_id: str, ask: Ask) -> tuple[str, str | None]:
        if ask.op == CREATE:
            path = f"/jobs/{job_id}" if ask.method == "PUT" else "/jobs"
            return path, json.dumps(
                {
                    "model": MODEL,
                    "inputs": [{"media": self._media}],
                    "labels": {"asked": ask.variant.removesuffix(IDLE)},
                    "execute": not ask.variant.endswith(IDLE),
                }
            )
        if ask.op == RUN:
            return f"/jobs/{job_id}/runs", json.dumps({"parameters": {"top_k": int(ask.variant)}})
        return f"/jobs/{job_id}{'/cancel' if ask.op == CANCEL else ''}", None

    def _exchange(
        self, instance: int, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        kept: dict[int, http.client.HTTPConnection] = self._own.__dict__.setdefault("connections", {})
        connection = kept.pop(instance, None)
        if connection is None:
            connection = http.client.HTTPConnection(HOST, self._ports[instance], timeout=self._timeout_s)
            self._opened.append(connection)
        try:
            connection.request(method, PREFIX + path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        kept[instance] = connection
        return response.status, dict(response.headers), content


def _if_match(condition: str | None, version: int) -> str | None:
    return {None: None, RIGHT: f'"{version}"', STALE: f'"{max(1, version - 1)}", "77"', ANY: "*"}[condition]
