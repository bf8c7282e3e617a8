"""MongoDB away: the projector waits, says so, and goes on; it skips nothing and folds nothing twice."""

import os
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest
from pymongo.errors import AutoReconnect

from darkroom.projector.testing import traffic, wait_until


def test_waits_for_a_mongodb_that_is_frozen_or_killed(fragile, clean_fold):
    bench, records = fragile.bench, traffic(11, 60, 3)
    bench.append(records[:80])
    with bench.live() as live:
        bench.wait_projected(80)
        os.kill(fragile.mongod.pid, signal.SIGSTOP)
        bench.append(records[80:160])
        wait_until(lambda: "MongoDB" in (live.why_not_ready or ""), "the projector says what it waits for")
        os.kill(fragile.mongod.pid, signal.SIGCONT)
        bench.wait_projected(160)
        assert live.why_not_ready is None
        fragile.mongod.kill()
        bench.append(records[160:])
        wait_until(lambda: "MongoDB" in (live.why_not_ready or ""), "the projector says what it waits for")
        fragile.mongod = fragile.start()
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)


def test_stops_in_time_while_mongodb_is_frozen(fragile, clean_fold):
    bench, records = fragile.bench, traffic(19, 20, 3)
    bench.append(records[:40])
    process = bench.process()
    bench.wait_projected(40)
    os.kill(fragile.mongod.pid, signal.SIGSTOP)
    try:
        bench.append(records[40:])
        process.terminate()
        assert process.wait(10) == 0, process.stderr.read().decode()[-3000:]
    finally:
        os.kill(fragile.mongod.pid, signal.SIGCONT)
    with bench.live("successor"):  # it also ends the transaction that was left open
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)


class Deaf:
    """Stands before a mongod. Each time that it is told to, it passes the next commits on, waits for their answers,
    and cuts the connection instead of passing the answers back."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.to_lose = self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"mongodb://127.0.0.1:{self._listener.getsockname()[1]}/?directConnection=true"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                losing = threading.Event()
                threading.Thread(target=self._pass, args=(client, server, losing, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, losing, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, losing: threading.Event, asks: bool) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(2**20):
                if asks and b"commitTransaction" in data and self.to_lose > 0:
                    self.to_lose -= 1
                    losing.set()
                elif not asks and losing.is_set():
                    self.lost += 1
                    source.shutdown(socket.SHUT_RDWR)
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)


def test_a_commit_whose_answer_is_lost_counts_once(bench, mongodb, clean_fold):
    records = traffic(20, 120, 3)
    deaf = Deaf(int(mongodb.partition("127.0.0.1:")[2].partition("/")[0]))
    try:
        with replace(bench, mongodb=deaf.uri).live():
            bench.append(records[:50])
            bench.wait_projected(50)
            with bench.traffic_on(records[50:]):
                # The driver asks again after the first loss, and is told by the server that it was done; after two
                # in a row nobody tells the projector, and it asks the checkpoints.
                for count in (1, 2, 2):
                    before, deaf.to_lose = deaf.lost, count
                    wait_until(lambda: deaf.lost >= before + count, "answers are lost")  # noqa: B023
                    bench.wait_projected(bench.projected() + 10)
            bench.wait_projected(len(records))
    finally:
        deaf.close()
    assert bench.checksums() == clean_fold(records)


def step_down(trio) -> None:
    """Returns when the primary has given up being one."""
    with suppress(AutoReconnect):  # its connections may be closed before it answers
        trio.bench.store.client.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)


def kill_primary(trio) -> None:
    node = trio.primary()
    trio.children[node].kill()
    wait_until(lambda: trio.primary() != node, "another one is elected")
    trio.start(node)


def freeze_primary(trio) -> None:
    """Writes under way hang in the old primary, are rolled back when it wakes, and must not be believed."""
    node = trio.primary()
    frozen = trio.children[node].pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        wait_until(lambda: trio.primary() != node, "another one is elected")
    finally:
        os.kill(frozen, signal.SIGCONT)


FAULTS = {"steps down": step_down, "is killed": kill_primary, "is frozen": freeze_primary}


def project_through(trio, clean_fold, seed: int, faults: Sequence[str]) -> None:
    """Traffic before, while and after the primary suffers the faults."""
    bench, records = trio.bench, traffic(seed, 60 + 40 * len(faults), 3)
    each = (len(records) - 100) // len(faults)
    bench.append(records[:100])
    process = bench.process()
    bench.wait_projected(100)
    for number, fault in enumerate(faults):
        start = 100 + number * each
        with bench.traffic_on(records[start : start + each], step=2, pause_s=0.005):
            wait_until(lambda: bench.all_projected(start + 50), "in full flow")  # noqa: B023
            FAULTS[fault](trio)
        bench.wait_projected(start + each)
        assert bench.checksums() == clean_fold(records[: start + each]), f"{faults[: number + 1]} of seed {seed}"
    bench.append(records[start + each :])
    bench.wait_projected(len(records))
    process.terminate()
    assert process.wait(10) == 0, bench.said(process).decode()[-3000:]
    assert bench.checksums() == clean_fold(records)


def test_goes_on_when_the_primary_steps_down(trio, clean_fold):
    project_through(trio, clean_fold, 21, ["steps down"])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(22, 25))
def test_goes_on_whatever_the_primary_suffers(trio, clean_fold, seed):
    project_through(trio, clean_fold, seed, Random(seed).sample([*FAULTS] * 2, 6))
