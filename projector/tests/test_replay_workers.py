"""Replay with worker processes: as good as alone, and gone when they have to be."""

from darkroom.projector.projections.families import JOBS
from darkroom.projector.replay import Address, Effort, Mode, replay
from darkroom.projector.testing import traffic


def run(bench, mode, **effort):
    told, said = [], []
    report = replay(
        bench.store,
        bench.log,
        bench.log.topic,
        JOBS,
        mode,
        told.append,
        said.append,
        Effort(address=Address(bench.kafka, bench.mongodb, bench.name), **effort),
    )
    return report, told


def test_processes_give_what_one_gives(bench, clean_fold):
    records = traffic(31, 120, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))
    report, told = run(bench, Mode.SWITCH, workers=2)
    assert (report.processes, report.equal, report.switched) == (2, True, True)
    assert bench.checksums(2) == clean_fold(records)
    assert [m.done for m in told if m.phase == "folding"][-1] == len(records)
    tiny, _ = run(bench, Mode.CHECK, workers=3, memory_size_bytes=0)
    assert (tiny.processes, tiny.equal) == (3, True)
    assert {c.read_model: c.rebuilt for c in tiny.comparisons} == clean_fold(records)
