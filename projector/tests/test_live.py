"""The live projector on real Kafka and MongoDB: whatever happens, the read models equal a clean fold of the log."""

import os
import signal

import pytest

from darkroom.projector.testing import traffic


def test_follows_the_log(bench, clean_fold):
    records = traffic(1, 60, 3)
    bench.append(records[:100])
    with bench.live() as live:
        bench.wait_projected(100)
        assert live.why_not_ready is None
        bench.append(records[100:])
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)
    with bench.live("again"):
        pass
    assert bench.checksums() == clean_fold(records)


@pytest.mark.parametrize("failpoint", ["before-commit:3", "after-commit:3"])
def test_killed_at_a_failpoint_it_folds_every_event_once(bench, clean_fold, failpoint):
    records = traffic(2, 60, 3)
    bench.append(records[:150])
    doomed = bench.process("first", DARKROOM_FAILPOINT=failpoint)
    assert doomed.wait(30) == -signal.SIGKILL
    bench.append(records[150:])
    successor = bench.process("second")
    bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)
    successor.terminate()
    assert successor.wait(10) == 0


def test_a_zombie_is_fenced(bench, clean_fold):
    records = traffic(3, 60, 3)
    bench.append(records[:80])
    zombie = bench.process("first")
    bench.wait_projected(80)
    os.kill(zombie.pid, signal.SIGSTOP)
    bench.append(records[80:])
    successor = bench.process("second")
    bench.wait_projected(len(records))
    os.kill(zombie.pid, signal.SIGCONT)
    # It wakes with what it had read, is fenced, and goes on from the checkpoints: both may work side by side.
    more = traffic(4, 20, 3)
    bench.append(more)
    bench.wait_projected(len(records) + len(more))
    shifted = clean_fold([*records, *bench.at_the_end_of(records, more)])
    assert bench.checksums() == shifted
    for process in (zombie, successor):
        process.terminate()
        assert process.wait(10) == 0
