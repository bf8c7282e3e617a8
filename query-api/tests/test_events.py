"""Histories and live streams: complete, in order, resumed without gap or repetition."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import orjson
import pytest

from darkroom.query_api import bodies, streams
from darkroom.runtime.ids import Position, Vector

DEADLINE_S = 15.0


class Stream:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.chunks = iter(answer.response)

    def entries(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """The next `count` entries as (id, event); comments are passed over."""
        found: list[tuple[str, dict[str, Any]]] = []
        deadline = monotonic() + DEADLINE_S
        while len(found) < count:
            assert monotonic() < deadline, f"{len(found)} of {count} entries came"
            chunk = next(self.chunks).decode()
            if chunk.startswith("id: "):
                first, second = chunk.removesuffix("\n\n").split("\n")
                found.append((first.removeprefix("id: "), orjson.loads(second.removeprefix("data: "))))
        return found


@contextmanager
def stream(service: Any, path: str, last: str | None = None) -> Iterator[Stream]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    answer = service.get(path, headers=headers, buffered=False)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.mimetype == "text/event-stream"
    try:
        yield Stream(answer)
    finally:
        answer.close()


def kinds(entries: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [event["type"].split(".")[2] for _, event in entries]


def test_a_history_is_cloudevents_with_positions(service: Any) -> None:
    job = service.log.create()
    service.log.event(job, "execution-started", void=True)
    token = service.log.event(job, "execution-started", data={"attempt": 1})
    body = service.json(f"/jobs/{job}/events")
    assert [e["status"] for e in body["items"]] == ["queued", "running"]
    last = body["items"][-1]
    assert (last["specversion"], last["subject"], last["data"]) == ("1.0", job, {"attempt": 1})
    assert (last["position"], last["void"]) == (token, False)
    assert (last["partition"], last["offset"]) == (Position.parse(token).partition, 2)
    assert not bodies.EventList().validate(body)
    all_of_them = service.json(f"/jobs/{job}/events?include=void")["items"]
    assert [e["void"] for e in all_of_them] == [False, True, False]


def test_a_long_history_comes_in_pages(service: Any) -> None:
    job = service.log.create()
    for n in range(120):  # three chunks; every third event is void
        service.log.history[job].append(
            service.log.history[job][0] | {"offset": n + 1, "void": n % 3 == 0, "status": "running"}
        )
    service.log.write(job)
    seen: list[int] = []
    page = service.json(f"/jobs/{job}/events?limit=30")
    while True:
        seen += [e["offset"] for e in page["items"]]
        if page["next"] is None:
            break
        page = service.json(f"/jobs/{job}/events?limit=30&cursor={page['next']}")
    assert seen == [0] + [n + 1 for n in range(120) if n % 3]
    assert len(service.json(f"/jobs/{job}/events?include=void")["items"]) == 121
    assert service.json(f"/jobs/{job}/events?cursor=x", 400)
    assert service.json(f"/jobs/{job}/events?cursor={Position('other', 0, 3).token()}", 400)


def test_an_event_that_is_not_json_is_shown_as_such(service: Any) -> None:
    job = service.log.create()
    service.log.history[job][0]["event"] = "{"
    service.log.write(job)
    event = service.json(f"/jobs/{job}/events")["items"][0]
    assert (event["unreadable"], event["type"]) == (True, "darkroom.job.created.v1")


def test_a_stream_gives_the_past_and_then_what_happens(service: Any) -> None:
    job = service.log.create()
    with stream(service, f"/jobs/{job}/events") as events:
        assert kinds(events.entries(1)) == ["created"]
        later = threading.Timer(0.1, service.log.event, [job, "execution-started"])
        later.start()
        token, event = events.entries(1)[0]
        later.join()
        assert (event["status"], event["position"]) == ("running", token)


def test_a_stream_resumes_right_after_the_last_id(service: Any) -> None:
    job = service.log.create()
    service.log.event(job, "execution-started")
    service.log.event(job, "execution-started", void=True)
    with stream(service, f"/jobs/{job}/events") as events:
        ids = [i for i, _ in events.entries(2)]
    service.log.succeed(job, [])
    with stream(service, f"/jobs/{job}/events", ids[0]) as events:
        assert kinds(events.entries(2)) == ["execution-started", "execution-succeeded"]
    with stream(service, f"/jobs/{job}/events?include=void", ids[1]) as events:
        assert [e["void"] for _, e in events.entries(2)] == [True, False]


def test_a_stream_over_all_jobs_resumes_by_its_vector(service: Any) -> None:
    before = service.log.create()
    with stream(service, "/events") as events:
        assert next(events.chunks) == b"retry: 1000\n\n"  # it has begun: from now on
        jobs = [service.log.create() for _ in range(12)]
        ids, seen = zip(*events.entries(12), strict=True)
    assert {e["subject"] for e in seen} == set(jobs)
    service.log.event(before, "execution-started")
    for cut in (0, 5, 11):  # from any id on: exactly the rest
        with stream(service, "/events", ids[cut]) as events:
            rest = [e["id"] for _, e in events.entries(12 - cut)]
        assert sorted(rest) == sorted([e["id"] for e in seen[cut + 1 :]] + [f"{before}-{_last(service, before)}"])
    for partition in range(4):
        offsets = [e["offset"] for e in seen if e["partition"] == partition]
        assert offsets == sorted(offsets)


def test_of_a_deleted_job_only_the_attributes_are_given(service: Any) -> None:
    kept, job = service.log.create(), service.log.create()
    for of in (kept, job):
        service.log.event(of, "execution-started", data={"labels": {"note": "secret"}})
        service.log.event(of, "execution-started", void=True, data={"labels": {"note": "secret"}})
    start = Vector("jobs-topic-id", (0, 0, 0, 0)).token()
    assert all("data" in e for e in service.json(f"/jobs/{job}/events?include=void")["items"])
    service.log.event(job, "deleted")
    body = service.json(f"/jobs/{job}/events?include=void")
    first = service.json(f"/jobs/{job}/events?limit=1")["items"]  # the deletion stands on a later page
    with stream(service, f"/jobs/{job}/events?include=void") as events:
        streamed = [e for _, e in events.entries(4)]
    with stream(service, "/events?include=void", start) as events:
        everything = [e for _, e in events.entries(7)]
    of_deleted = [e for e in everything if e["subject"] == job]
    for found in (body["items"], first, streamed, of_deleted):
        assert "secret" not in orjson.dumps(found).decode()
        assert not [e for e in found if "data" in e]
        assert {e["subject"] for e in found} == {job}
        assert all(e["time"] and e["id"] and e["specversion"] == "1.0" for e in found)
    assert len(body["items"]) == len(of_deleted) == 4
    assert [e["data"] for e in everything if e["subject"] == kept][1] == {"labels": {"note": "secret"}}


def test_the_history_may_know_of_a_deletion_before_the_jobs_do(service: Any) -> None:
    job = service.log.create()
    before = dict(service.log.jobs[job])
    service.log.event(job, "deleted")
    service.log.database.jobs_g1.replace_one({"_id": job}, before)
    assert not [e for e in service.json(f"/jobs/{job}/events")["items"] if "data" in e]


def test_what_comes_from_far_back_is_sent_window_by_window(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WINDOW_EVENTS_MIN", 2)
    monkeypatch.setattr(streams, "WINDOW_EVENTS_MAX", 2)
    jobs: dict[int, str] = {}
    while len(jobs) < 4:  # one job in each partition
        job = service.log.create()
        jobs.setdefault(service.log.jobs[job]["partition"], job)
    for job in jobs.values():
        for _ in range(3):
            service.log.event(job, "execution-started")
    read: list[tuple[int, int]] = []
    window = service.store.history_window

    def counted(generation: int, tenant: str, partition: int, start: int, stop: int) -> Any:
        read.append((partition, stop - start))
        return window(generation, tenant, partition, start, stop)

    monkeypatch.setattr(service.store, "history_window", counted)
    with stream(service, "/events", Vector("jobs-topic-id", (0, 0, 0, 0)).token()) as events:
        events.entries(1)
        assert read == [(0, 2)]
        events.entries(7)
    assert read == [(0, 2), (1, 2), (2, 2), (3, 2)]  # in turn: none waits for all of another


def test_a_stream_over_all_jobs_reads_far_back_in_windows(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WINDOW_EVENTS_MIN", 3)
    monkeypatch.setattr(streams, "WINDOW_EVENTS_MAX", 3)
    jobs = [service.log.create() for _ in range(6)]
    for kind in ("execution-started", "cancelled"):
        for job in jobs:
            service.log.event(job, kind)
    start = Vector("jobs-topic-id", (0, 0, 0, 0)).token()
    with stream(service, "/events", start) as events:
        found = events.entries(18)
    assert len({e["id"] for _, e in found}) == 18
    assert kinds(found).count("cancelled") == 6


def test_windows_grow_while_their_events_are_small() -> None:
    window, seen = streams.WINDOW_EVENTS_MIN, []
    for size_bytes in (0, 100_000, 400_000, 400_000, 100_000, 100_000, 3_000_000, 700_000):
        window = streams.window_after(window, size_bytes)
        seen.append(window)
    assert seen == [400, 800, 1600, 3200, 4000, 4000, 2000, 2000]
    assert streams.window_after(streams.WINDOW_EVENTS_MIN, 2**30) == streams.WINDOW_EVENTS_MIN


def _last(service: Any, job: str) -> int:
    return int(service.log.history[job][-1]["offset"])


def test_a_stream_follows_a_switch_of_generations(service: Any) -> None:
    job = service.log.create()
    with stream(service, f"/jobs/{job}/events") as events:
        events.entries(1)
        service.log.generation = 2
        service.log.checkpoints("jobs", 2)
        service.log.event(job, "execution-started")
        service.log.switch(2)
        assert kinds(events.entries(1)) == ["execution-started"]
    service.log.make_indexes()


@pytest.mark.parametrize("last", ["x", Position("other", 0, 1).token(), "%00", "v" * 300])
def test_ids_of_other_streams_are_400(service: Any, last: str) -> None:
    job = service.log.create()
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    for path in (f"/jobs/{job}/events", "/events"):
        assert service.json(path, 400, headers=headers)["type"].endswith("malformed-position")


@pytest.mark.parametrize("vector", [Vector("other", (0, 0, 0, 0)), Vector("jobs-topic-id", (0,) * 5)])
def test_vectors_of_other_logs_are_400(service: Any, vector: Vector) -> None:
    service.json("/events", 400, headers={"Last-Event-ID": vector.token()})


def test_streams_are_bounded_and_given_back(service: Any) -> None:
    job = service.log.create()
    held = [
        service.get(f"/jobs/{job}/events", headers={"Accept": "text/event-stream"}, buffered=False)
        for _ in range(14)
    ]
    try:
        assert {a.status_code for a in held} == {200}
        refused = service.get(f"/jobs/{job}/events", headers={"Accept": "text/event-stream"})
        assert (refused.status_code, refused.json["type"]) == (503, "urn:darkroom:problem:too-busy")
        assert refused.headers["Retry-After"]
        assert service.json(f"/jobs/{job}")  # plain reads go on
    finally:
        for answer in held:  # most were never begun: their places come back all the same
            answer.close()
    head = service.client.head(f"/api/v1/inference/jobs/{job}/events", headers={"Accept": "text/event-stream"})
    assert head.status_code == 200
    for _ in range(15):
        with stream(service, f"/jobs/{job}/events") as events:
            events.entries(1)


def test_heartbeats_are_comments(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    job = service.log.create()
    with stream(service, f"/jobs/{job}/events") as events:
        events.entries(1)
        assert next(events.chunks) == b": still here\n\n"


def test_other_forms_are_406(service: Any) -> None:
    job = service.log.create()
    assert service.json(f"/jobs/{job}/events", 406, headers={"Accept": "image/png"})
    assert service.json("/events", 406, headers={"Accept": "application/json"})
    assert service.json(f"/jobs/{job}/events", 200, headers={"Accept": "*/*"})
