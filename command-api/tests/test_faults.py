"""The command API as a process while its broker is frozen, killed, cut off, out of room or another: a 202 is the
truth or it is not given, a 503 comes in time, and everything recovers without a new start."""

import json
import os
import resource
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from uuid import uuid4

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from darkroom.cli.stack.testing_broker import OwnBroker, proxied_broker
from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.testing_proxy import Api, Proxy
from darkroom.schemas.chain import Guard, accepts
from darkroom.schemas.wire import read_guard

from .service import DESCRIPTION, PNG, TFLITE, Service, free_port

DEADLINE_S = 1.5
MARGIN_S = 2.0
"""For a machine that does other work at the same time."""
RECOVERY_S = 30.0
GRACE_S = DEADLINE_S + 1 + 3 + MARGIN_S
"""After SIGTERM: what the slowest request may take, a second more, and three for closing."""
URN = "urn:darkroom:problem:"
UNKNOWN = "00000000-0000-7000-8000-000000000000"


@dataclass
class World:
    """A broker of the module's own behind a proxy, and one instance of the service."""

    broker: OwnBroker
    proxy: Proxy
    folder: Path
    name: str
    service: Service = field(init=False)
    digest: str = field(init=False)

    def start(self, **environment: str) -> Service:
        """An instance, with a folder of data of its own."""
        number = len(list(self.folder.glob("*.log")))
        given = {
            "DARKROOM_KAFKA": self.broker.bootstrap,
            "DARKROOM_TOPIC_JOBS": f"{self.name}.jobs",
            "DARKROOM_TOPIC_MODELS": f"{self.name}.models",
            "DARKROOM_TOPIC_HEARTBEATS": f"{self.name}.heartbeats",
            "DARKROOM_COMMAND_URL": "http://command.test",
            "DARKROOM_PARTITIONS": "2",
            "DARKROOM_DATA": str(self.folder / f"data-{number}"),
            "DARKROOM_BLOBS": f"file://{self.folder}/blobs",
            "DARKROOM_REQUEST_DEADLINE_S": str(DEADLINE_S),
            "DARKROOM_START_TIMEOUT_S": "30",
            **environment,
        }
        service = Service(given, free_port(), self.folder / f"{number}.log")
        try:
            service.wait_ready()
        except BaseException:
            service.end(signal.SIGKILL)
            raise
        return service

    def prepare(self) -> None:
        """A model and a picture to run it on."""
        client = self.service.client
        files = {"file": ("m.tflite", TFLITE)}
        soon(lambda: client.put("/models/m/versions/1", data={"description": DESCRIPTION}, files=files), 202)
        self.digest = client.post("/media", content=PNG).json()["digest"]

    def create(self, key: str = "", service: Service | None = None) -> httpx.Response:
        """A create, under a key if one is given."""
        body = {"model": "m", "inputs": [{"media": self.digest}], "execute": False}
        headers = {"Idempotency-Key": key} if key else {}
        return (service or self.service).client.post("/jobs", json=body, headers=headers)

    def events(self) -> Counter[str]:
        """How many events of each job count, by the rule alone, in the log as it stands now."""
        return Counter(guard.key for guard, counts in self._read() if counts)

    def records(self, job: str) -> int:
        """How many events of a job stand in the log, whether they count or not."""
        return sum(guard.key == job for guard, _ in self._read())

    def _read(self) -> list[tuple[Guard, bool]]:
        log = KafkaLog(self.broker.bootstrap, f"{self.name}.jobs")
        try:
            ends = {p: log.end_offset(p, RECOVERY_S) for p in range(log.partitions)}
            reader = log.follow(dict.fromkeys(ends, 0))
            found: list[tuple[Guard, bool]] = []
            heads: dict[str, tuple[int, str]] = {}
            until = monotonic() + RECOVERY_S
            while len(found) < sum(ends.values()):
                for record in reader.poll(0.2, 1000):
                    guard = read_guard(record.key, record.headers)
                    counts = accepts(*heads.get(guard.key, (0, "")), guard)
                    if counts:
                        heads[guard.key] = (guard.version, guard.event_id)
                    found.append((guard, counts))
                assert monotonic() < until, "the log could not be read to its end"
            reader.close()
            return found
        finally:
            log.close(1)


@pytest.fixture(scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with proxied_broker(folder / "broker") as (broker, proxy):
        world = World(broker, proxy, folder, f"f{uuid4().hex[:8]}")
        world.service = world.start()
        try:
            world.prepare()
            yield world
        finally:
            world.service.end(signal.SIGKILL)


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """The module's world, healthy, with one job more in the log; every 202 of the test is there in the end."""
    soon(_world.create, 202)
    yield _world
    _world.proxy.heal()
    if _world.broker.child.exit_code() is None:
        _world.broker.thaw()


def soon(ask: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """The first answer with that status; until then only 503 is right."""
    until = monotonic() + RECOVERY_S
    while True:
        answer = ask()
        if answer.status_code == status:
            return answer
        assert answer.status_code == 503, answer.text
        assert monotonic() < until, f"not within {RECOVERY_S:g} s: {answer.text}"


def timed(ask: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    begun = monotonic()
    return ask(), monotonic() - begun


def check_unavailable(answer: httpx.Response, took_s: float, *names: str) -> None:
    """A 503 as it must be, and in time."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["type"] in {URN + name for name in names}, answer.text
    assert took_s < DEADLINE_S + MARGIN_S


def check_health(service: Service, ready: int) -> str:
    """Liveness is green at once, readiness as expected in time; what it says."""
    answer, took_s = timed(lambda: httpx.get(service.url + "/health/live", timeout=10))
    assert (answer.status_code, took_s < 1.0) == (200, True)
    answer, took_s = timed(lambda: httpx.get(service.url + "/health/ready", timeout=10))
    assert answer.status_code == ready, answer.text
    assert took_s < 3.0
    return answer.text


def check_outage(world: World, job: str) -> list[str]:
    """While the log is away, whatever needs it gets 503 in time. The keys of the creates that were tried."""
    keys = [str(uuid4()) for _ in range(4)]
    asks: list[Callable[[], httpx.Response]] = [lambda key=key: world.create(key) for key in keys]  # type: ignore[misc]
    asks += [
        lambda: world.service.client.post(f"/jobs/{UNKNOWN}/cancel"),  # a refusal needs the log's end
        lambda: world.service.client.post(f"/jobs/{job}/cancel"),
        lambda: world.service.client.get("/positions"),
    ]
    with ThreadPoolExecutor(len(asks)) as threads:
        under_way = [threads.submit(timed, ask) for ask in asks]
        check_health(world.service, 503)
        for future in under_way:
            check_unavailable(*future.result(), "log-unavailable", "tail-behind")
    return keys


def check_recovered(world: World, keys: list[str]) -> None:
    """Commands and readiness are back by themselves, and each key settles to one job."""
    begun = monotonic()
    soon(world.create, 202)
    print(f"first 202 after {monotonic() - begun:.2f} s")
    soon(lambda: httpx.get(world.service.url + "/health/ready", timeout=10), 200)
    print(f"ready after {monotonic() - begun:.2f} s")
    jobs = [soon(lambda key=key: world.create(key), 202).json()["id"] for key in keys]  # type: ignore[misc]
    again = [world.create(key).json()["id"] for key in keys]
    assert again == jobs
    counted = world.events()
    assert [counted[job] for job in jobs] == [1] * len(keys)
    assert world.service.process.poll() is None


def test_a_frozen_broker(world: World) -> None:
    job = world.create().json()["id"]
    world.broker.freeze()
    keys = check_outage(world, job)
    world.broker.thaw()
    check_recovered(world, keys)


@pytest.mark.parametrize("how", ["kill", pytest.param("stop", marks=pytest.mark.long)])
def test_a_broker_that_is_started_again(world: World, how: str) -> None:
    job = world.create().json()["id"]
    getattr(world.broker, how)()
    keys = check_outage(world, job)
    world.broker.start()
    check_recovered(world, keys)


@pytest.mark.long
def test_half_open_connections(world: World) -> None:
    """The broker is well, but all connections to it have died without a word: they are given up and made again."""
    world.proxy.strand()
    keys = [str(uuid4()) for _ in range(2)]
    with ThreadPoolExecutor(len(keys)) as threads:
        for future in [threads.submit(timed, lambda key=key: world.create(key)) for key in keys]:  # type: ignore[misc]
            check_unavailable(*future.result(), "log-unavailable", "tail-behind")
    check_recovered(world, keys)


def test_a_tail_that_is_behind(world: World) -> None:
    """The broker takes events, but gives none: nothing is guessed, neither an acceptance nor a refusal."""
    job = world.create().json()["id"]
    key = str(uuid4())
    world.proxy.hold_answers(Api.FETCH)
    check_unavailable(*timed(lambda: world.create(key)), "tail-behind")
    assert "yet" in check_health(world.service, 503)
    world.proxy.heal()
    first = soon(lambda: world.create(key), 202).json()
    # A repetition that came before the tail had caught up may have landed as well: void.
    assert (first["version"], world.events()[first["id"]]) == (1, 1)
    assert soon(lambda: world.service.client.delete(f"/jobs/{job}"), 202)


def test_an_acknowledgement_is_lost(world: World) -> None:
    """One event, and the client is told of it: the producer asks again, and the broker knows the record."""
    for _ in range(3):
        before = world.proxy.lost(Api.PRODUCE)
        world.proxy.lose_answers(Api.PRODUCE)
        key = str(uuid4())
        job = soon(lambda key=key: world.create(key), 202).json()["id"]  # type: ignore[misc]
        assert world.proxy.lost(Api.PRODUCE) == before + 1
        assert world.create(key).json()["id"] == job
        assert world.records(job) == 1


def test_an_acknowledgement_that_does_not_come(world: World) -> None:
    """The event is in the log, nobody can tell: 503, and the key settles it."""
    key = str(uuid4())
    world.proxy.hold_answers(Api.PRODUCE)
    check_unavailable(*timed(lambda: world.create(key)), "log-unavailable", "tail-behind")
    world.proxy.heal()
    check_recovered(world, [key])


def test_liveness_with_every_place_taken(world: World) -> None:
    """A hundred commands at once wait for a frozen broker: liveness, readiness and metrics are answered, and who
    finds no place is told so at once."""
    world.broker.freeze()
    keys = [str(uuid4()) for _ in range(100)]
    with ThreadPoolExecutor(len(keys)) as threads:
        under_way = [threads.submit(timed, lambda key=key: world.create(key)) for key in keys]  # type: ignore[misc]
        check_health(world.service, 503)
        answer, took_s = timed(lambda: httpx.get(world.service.url + "/metrics", timeout=10))
        assert (answer.status_code, took_s < 1.0) == (200, True)
        told = [future.result() for future in under_way]
    for answer, took_s in told:
        check_unavailable(answer, took_s, "log-unavailable", "tail-behind", "too-busy")
    world.broker.thaw()
    check_recovered(world, keys[:5])


def test_sigterm_under_load(world: World) -> None:
    """Whatever was sent before the signal is answered; the process ends by itself, in time; every 202 counts."""
    service = world.start()
    told: list[int] = []
    told_enough = threading.Event()
    jobs: set[str] = set()
    lost: list[str] = []
    signalled_at = [float("inf")]

    def ask() -> None:
        body = b'{"model": "m", "inputs": [{"media": "%s"}], "execute": false}' % world.digest.encode()
        head = f"POST /api/v1/inference/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        sent = f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + body
        while signalled_at[0] == float("inf"):
            sent_at = float("inf")
            try:
                with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
                    connection.sendall(sent)
                    sent_at = monotonic()
                    received = b""
                    while piece := connection.recv(65536):
                        received += piece
                head_received, _, answer = received.partition(b"\r\n\r\n")
                status = int(head_received.split()[1])
                told.append(status)
                if status == 202:
                    jobs.add(json.loads(answer)["id"])
                    if len(jobs) >= 50:
                        told_enough.set()
            except (OSError, IndexError) as error:
                if sent_at < signalled_at[0]:
                    lost.append(repr(error))

    with ThreadPoolExecutor(16) as threads:
        asking = [threads.submit(ask) for _ in range(16)]
        assert told_enough.wait(RECOVERY_S)
        signalled_at[0] = monotonic()
        service.process.send_signal(signal.SIGTERM)
        for future in asking:
            future.result()
    service.client.close()
    assert service.process.wait(GRACE_S) == 0
    print(f"ended {monotonic() - signalled_at[0]:.2f} s after SIGTERM, {len(told)} answers")
    assert not lost
    assert set(told) <= {202, 503}
    counted = world.events()
    assert all(counted[job] == 1 for job in jobs)


def test_sigterm_with_a_frozen_broker(world: World) -> None:
    """What waits is told 503; the process ends within its grace, and its log says what nobody acknowledged."""
    service = world.start()
    soon(lambda: world.create(service=service), 202)
    produced = world.proxy.requests(Api.PRODUCE)
    world.broker.freeze()
    with ThreadPoolExecutor(8) as threads:
        under_way = [threads.submit(timed, lambda: world.create(service=service)) for _ in range(8)]
        world.proxy.wait_for(lambda: world.proxy._requests[Api.PRODUCE] > produced)
        begun = monotonic()
        service.process.send_signal(signal.SIGTERM)
        told = [future.result()[0].status_code for future in under_way]
    service.client.close()
    assert service.process.wait(GRACE_S) == 0
    took_s = monotonic() - begun
    print(f"ended {took_s:.2f} s after SIGTERM")
    assert took_s < GRACE_S
    assert set(told) == {503}
    assert "did not acknowledge" in service.log.read_text()


def test_no_room_left_at_the_broker(world: World) -> None:
    """A limit on the size of its files stands in for a full disk: needs no rights, and the broker does the same (it
    gives its only folder up and ends). No 202 is lost; with room again, everything goes on."""
    largest = max(path.stat().st_size for path in world.broker.data.rglob("*.log"))
    limit = largest + 20_000
    resource.prlimit(world.broker.child.pid, resource.RLIMIT_FSIZE, (limit, limit))
    accepted = check_full(world)
    world.broker.start()
    check_recovered(world, [str(uuid4())])
    counted = world.events()
    assert all(counted[job] == 1 for job in accepted)


@pytest.mark.long
def test_a_full_disk_at_the_broker(tmp_path: Path) -> None:
    """The same on a small file system that is really full; needs the right to mount one."""
    (tmp_path / "broker" / "kafka" / "log").mkdir(parents=True)
    data = tmp_path / "broker" / "kafka" / "log"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(data)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this process may not mount a file system: {mounted.stderr.decode().strip()}")
    try:
        with proxied_broker(tmp_path / "broker") as (broker, proxy):
            world = World(broker, proxy, tmp_path, "full")
            world.service = world.start()
            try:
                world.prepare()
                room = os.statvfs(data)
                (data / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize - 20_000))
                accepted = check_full(world)
                (data / "filler").unlink()
                broker.start()
                check_recovered(world, [str(uuid4())])
                counted = world.events()
                assert all(counted[job] == 1 for job in accepted)
            finally:
                world.service.end(signal.SIGKILL)
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)


def check_full(world: World) -> list[str]:
    """Creates until the broker has ended; the jobs of which it was said that they are accepted."""
    accepted = []
    until = monotonic() + RECOVERY_S
    while (answer := world.create()).status_code == 202:
        accepted.append(answer.json()["id"])
        assert monotonic() < until, "the broker found room all the time"
    check_unavailable(answer, 0, "log-unavailable", "tail-behind")
    assert world.broker.child.wait(RECOVERY_S) is not None, "the broker goes on without a disk"
    check_unavailable(*timed(world.create), "log-unavailable", "tail-behind")
    check_health(world.service, 503)
    world.broker.child.kill()
    print(f"{len(accepted)} commands were accepted before the broker ended")
    return accepted


def test_no_room_left_at_the_service(world: World) -> None:
    """Its files cannot grow: it says 503 and ends, for its supervisor to start it anew; nothing is false."""
    service = world.start()
    try:
        soon(lambda: world.create(service=service), 202)
        worker = int(
            Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()[0]
        )
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (4096, 4096))
        # Its log is a file of this process's, and longer than the limit; the event is in the broker's log.
        answers = [timed(lambda: world.create(service=service)) for _ in range(3)]
        assert {answer.status_code for answer, _ in answers} <= {202, 503}
        jobs = [answer.json()["id"] for answer, _ in answers if answer.status_code == 202]
        assert service.process.wait(RECOVERY_S) != 0
        assert all(world.events()[job] == 1 for job in jobs)
    finally:
        service.end(signal.SIGKILL)


def test_a_topic_that_was_made_again(world: World) -> None:
    """Another log under the same name: no 202 on what the old one held; the process ends, and the next one begins
    with the new log."""
    own = World(world.broker, world.proxy, world.folder, f"g{uuid4().hex[:8]}")
    own.service = own.start()
    try:
        own.prepare()
        old = soon(own.create, 202).json()["id"]
        admin = AdminClient({"bootstrap.servers": world.broker.bootstrap})
        topic = f"{own.name}.jobs"
        admin.delete_topics([topic])[topic].result(RECOVERY_S)
        ensure_topics(world.broker.bootstrap, [TopicSpec(topic, 2, 1, TRUTH)], RECOVERY_S)
        given = []
        until = monotonic() + RECOVERY_S
        while own.service.process.poll() is None:
            assert monotonic() < until, own.service.log.read_text()
            with suppress(httpx.TransportError):
                answer = own.service.client.delete(f"/jobs/{old}")
                assert answer.status_code == 503, "a deletion of what the log does not hold"
                given.append(answer.status_code)
        assert own.service.process.wait(5) != 0
        own.service.end()
        own.service = own.start(DARKROOM_DATA=str(own.folder / "data-again"))
        assert soon(lambda: own.service.client.delete(f"/jobs/{old}"), 404)
        soon(own.create, 202)
    finally:
        own.service.end(signal.SIGKILL)


@pytest.mark.long
def test_a_broker_that_was_restored_from_a_backup(world: World) -> None:
    """It has lost the end of what it acknowledged. Whatever is accepted from then on counts in the log as it is."""
    world.broker.stop()
    backup = world.folder / f"backup-{uuid4().hex}"
    world.broker.save(backup)
    world.broker.start()
    lost = [soon(world.create, 202).json()["id"] for _ in range(5)]
    world.broker.stop()
    world.broker.restore(backup)
    world.broker.start()
    before = world.events()
    assert not any(before[job] for job in lost)
    given: list[str] = []
    until = monotonic() + 15
    while world.service.process.poll() is None and monotonic() < until:
        for job in lost:
            with suppress(httpx.TransportError):
                answer = world.service.client.delete(f"/jobs/{job}")
                if answer.status_code == 202:
                    given.append(job)
        with suppress(httpx.TransportError):
            answer = world.create()
            if answer.status_code == 202:
                given.append(answer.json()["id"])
    after = world.events()
    assert all(after[job] for job in given), "a 202 for what no fold of the log accepts"
    world.service.end(signal.SIGKILL)
    world.service = world.start()
    soon(world.create, 202)
