"""A simulation against a service of a few lines: what is right, what is a finding, and that it ends."""

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from darkroom.simulator import pictures, scenario
from darkroom.simulator.client import CommandClient, Unreachable
from darkroom.simulator.run import Pace, Simulation
from darkroom.simulator.summary import Summary, quantile

# Loaded by path: test folders are no packages, and importlib mode leaves sys.path alone.
_spec = importlib.util.spec_from_file_location("fake_service", Path(__file__).with_name("fake_service.py"))
assert _spec
assert _spec.loader
fake_service: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake_service)
POOL = pictures.pool(1)


def client_of(service: Any, deadline_s: float = 5.0) -> CommandClient:
    return CommandClient("http://service", transport=service.transport, deadline_s=deadline_s)


def simulate(service: Any, pace: Pace, seed: int = 1) -> tuple[Summary, list[Summary]]:
    seen: list[Summary] = []
    stream = scenario.actions(seed, "session", ["m"], len(POOL))
    simulation = Simulation(client_of(service), stream, POOL, pace, seen.append, summary_every_s=0.05)
    return simulation.run(threading.Event()), seen


@pytest.mark.parametrize("seed", range(3))
def test_all_answers_of_a_right_service_are_expected(seed: int) -> None:
    summary, seen = simulate(fake_service.FakeService(), Pace(count=400), seed)
    assert summary.findings == ()
    assert (summary.sent, summary.unexpected) == (400, 0)
    assert summary.accepted + summary.refused == 400
    assert summary.refused > 0
    assert sum(summary.by_action.values()) == 400
    assert seen[-1].sent == 400
    assert "sent 400" in summary.line()


def test_a_wrong_answer_is_a_finding_that_says_what_was_expected() -> None:
    summary, _ = simulate(fake_service.FakeService(wrong=500), Pace(count=60))
    assert summary.unexpected > 0
    assert any("expected 202, got internal (500): because" in finding for finding in summary.findings)


def test_a_503_is_asked_again_under_the_same_key() -> None:
    service = fake_service.FakeService(away=2)
    answer = client_of(service).create({"model": "m", "inputs": [], "execute": False}, "key-1")
    assert (answer.status, answer.tries) == (202, 3)
    assert service.keys == ["key-1"] * 3


def test_a_service_that_stays_away_is_given_up_by_the_deadline() -> None:
    started = monotonic()
    answer = client_of(fake_service.FakeService(away=10**6), 0.3).cancel("job", "key")
    assert answer.status == 503
    assert monotonic() - started < 2.0


def test_no_answer_at_all_is_unreachable_after_repeats() -> None:
    tries = []

    def refuse(request: httpx.Request) -> httpx.Response:
        tries.append(request.headers["Idempotency-Key"])
        raise httpx.ConnectError("refused")

    client = CommandClient("http://service", transport=httpx.MockTransport(refuse), deadline_s=0.5)
    with pytest.raises(Unreachable, match="refused"):
        client.cancel("job", "key")
    assert len(tries) > 1
    assert set(tries) == {"key"}


def test_a_rate_is_kept_and_a_duration_ends_it() -> None:
    summary, _ = simulate(fake_service.FakeService(), Pace(rate_per_s=100, duration_s=0.5))
    assert summary.sent == 50
    assert 0.49 <= summary.elapsed_s < 3.0


def test_it_stops_when_told() -> None:
    stopping = threading.Event()

    def stop_soon(summary: Summary) -> None:
        if summary.sent:
            stopping.set()

    stream: Iterator[scenario.Action] = scenario.actions(1, "session", ["m"], len(POOL))
    client = client_of(fake_service.FakeService())
    summary = Simulation(client, stream, POOL, Pace(), stop_soon, 0.02).run(stopping)
    assert summary.sent > 0
    assert summary.unexpected == 0


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0.0
    assert quantile([1.0], 0.99) == 1.0
    assert quantile([float(n) for n in range(1, 101)], 0.5) == 50.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
