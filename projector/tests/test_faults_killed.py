"""A projector that dies or stops at any step: the read models equal a clean fold of the log, every time."""

import os
import signal
from pathlib import Path

import pytest

from darkroom.projector.testing import traffic, wait_until

FAILPOINTS = [
    "projector-after-read",
    "projector-after-writes",
    "projector-before-commit",
    "projector-after-commit",
    "projector-before-kafka-commit",
]


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_killed_at_a_failpoint_it_folds_every_event_once(bench, clean_fold):
    records, fed = traffic(2, 500, 3), 0
    for failpoint in FAILPOINTS:
        doomed = bench.process(failpoint, DARKROOM_FAILPOINT=f"{failpoint}:3")
        fed = bench.feed(records, fed, lambda: doomed.poll() is not None, failpoint)  # noqa: B023
        assert doomed.returncode == -signal.SIGKILL, doomed.stderr.read().decode()[-3000:]
        assert bench.checksums() == clean_fold(bench.projected_of(records)), failpoint
    with bench.live("successor"):
        bench.append(records[fed:])
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)


def haunt(bench, clean_fold, failpoint: str, records) -> None:
    """A zombie that stops at a failpoint, sleeps while another one works, and wakes beside it."""
    zombie = bench.process(failpoint, DARKROOM_FAILPOINT=f"stop@{failpoint}:4")
    fed = bench.feed(records, 0, lambda: stopped(zombie.pid), f"it stops at {failpoint}")
    with bench.live(f"beside-{failpoint}"):
        half = (fed + len(records)) // 2
        bench.append(records[fed:half])
        bench.wait_projected(half)
        assert stopped(zombie.pid)
        os.kill(zombie.pid, signal.SIGCONT)
        # It wakes with what it has read and remembers, is fenced, and goes on from the checkpoints.
        wait_until(lambda: b"again from its checkpoints" in bench.said(zombie), "the zombie is fenced")
        with bench.traffic_on(records[half:]):
            pass
        bench.wait_projected(len(records))
        assert bench.checksums() == clean_fold(records), failpoint
    zombie.terminate()
    assert zombie.wait(10) == 0, bench.said(zombie).decode()[-3000:]
    assert bench.checksums() == clean_fold(records), failpoint


def test_a_zombie_is_fenced(bench, clean_fold):
    haunt(bench, clean_fold, "projector-before-commit", traffic(3, 100, 3))


@pytest.mark.long
@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_zombie_is_fenced_wherever_it_stopped(bench, clean_fold, failpoint):
    haunt(bench, clean_fold, failpoint, traffic(4, 300, 3))
