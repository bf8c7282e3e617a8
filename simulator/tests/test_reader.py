"""The client of the query API: a 503 passes, and is asked again until the caller's deadline; nothing else is."""

import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import httpx
import pytest

from darkroom.simulator.reader import QueryClient, Refused

CREATED = {
    "specversion": "1.0",
    "type": "darkroom.job.created.v1",
    "subject": "one",
    "id": "e1",
    "streamversion": 1,
    "previd": "",
    "run": 1,
}
SUCCEEDED = {
    **CREATED,
    "type": "darkroom.job.execution-succeeded.v1",
    "id": "e2",
    "streamversion": 2,
    "previd": "e1",
}


class FakeReads:
    """Answers the first `behind` requests with a 503, then all with `status`."""

    def __init__(self, behind: int, status: int = 200) -> None:
        self.behind, self.status, self.asked = behind, status, 0
        self.client = QueryClient("http://reads", transport=httpx.MockTransport(self._handle), timeout_s=2.0)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked <= self.behind:
            return httpx.Response(503, json={"title": "behind"}, headers={"Retry-After": "0"})
        if self.status != 200:
            return httpx.Response(self.status, json={"title": "no"})
        if request.url.path.endswith("/events"):
            text = "".join(f"id: {e['id']}\ndata: {json.dumps(e)}\n\n" for e in (CREATED, SUCCEEDED))
            return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})
        return httpx.Response(200, json={"id": "one", "status": "succeeded", "items": [{"name": "m"}]})


def steps(client: QueryClient, timeout_s: float = 5.0) -> list[str]:
    return [step.kind for step in client.steps("one", timeout_s)]


CALLS: dict[str, Callable[[QueryClient], Any]] = {
    "job": lambda c: c.job("one", after="p"),
    "finished": lambda c: c.finished("one", after="p", timeout_s=5.0),
    "steps": steps,
    "models": lambda c: c.models(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_503_that_passes_is_not_seen(call: Callable[[QueryClient], Any]) -> None:
    reads = FakeReads(behind=2)
    with reads.client as client:
        assert call(client) == call(FakeReads(behind=0).client)
    assert reads.asked == 3


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_any_other_problem_is_told_at_once(call: Callable[[QueryClient], Any]) -> None:
    reads = FakeReads(behind=0, status=410)
    with reads.client as client, pytest.raises(Refused) as caught:
        call(client)
    assert (caught.value.answer.status, reads.asked) == (410, 1)


BOUNDED: dict[str, Callable[[QueryClient], Any]] = {
    "job": lambda c: c.job("one", patience_s=0.3),
    "finished": lambda c: c.finished("one", timeout_s=0.3),
    "steps": lambda c: steps(c, 0.3),
}


@pytest.mark.parametrize("call", BOUNDED.values(), ids=BOUNDED.keys())
def test_a_503_that_stays_is_told_by_the_deadline(call: Callable[[QueryClient], Any]) -> None:
    reads, begun = FakeReads(behind=10**6), monotonic()
    with reads.client as client, pytest.raises(Refused) as caught:
        call(client)
    assert caught.value.answer.status == 503
    assert 1 < reads.asked <= 20
    assert monotonic() - begun < 1.0


def test_who_asks_how_things_stand_now_is_told_so_at_once() -> None:
    for ask in (QueryClient.stats, QueryClient.projections):
        reads = FakeReads(behind=1)
        with reads.client as client, pytest.raises(Refused):
            ask(client)
