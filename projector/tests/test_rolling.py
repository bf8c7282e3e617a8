"""A rolling deployment: two versions of a fold side by side, under traffic, while readers read."""

import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from darkroom.cli.stack.ports import free_port
from darkroom.projector.projections.families import JOBS
from darkroom.projector.store_generations import alias_of, prune
from darkroom.projector.switching import roll_back
from darkroom.projector.testing import traffic, wait_until
from darkroom.projector.testing_newer import newer
from darkroom.query_api.store import Store as Readable
from darkroom.query_api.store_errors import GenerationGone

_NEWER = "import sys; from darkroom.projector.testing_newer import become_newer; become_newer(); "
PROJECTOR = _NEWER + "from darkroom.projector.__main__ import main; sys.exit(main())"
DARKROOM = _NEWER + "from darkroom.cli.main import app; app(prog_name='darkroom')"
ROLL_BACK = f"""{_NEWER}
from darkroom.projector.projections.families import JOBS
from darkroom.projector.store import Store
from darkroom.projector.switching import roll_back
from darkroom.runtime.eventlog.kafka import KafkaLog
kafka, mongodb, database, topic = sys.argv[1:]
roll_back(Store(mongodb, database), KafkaLog(kafka, topic), topic, JOBS)
"""


@contextmanager
def readers(bench) -> Iterator[list[str]]:
    """Reads positions as two instances of the query API do, in turns; the list tells what went wrong."""
    stop, wrong = threading.Event(), []
    instances = [Readable(bench.mongodb, bench.name, 5.0) for _ in range(2)]

    def read() -> None:
        before: dict[int, tuple[int, int]] = {}
        for instance in itertools.cycle(instances):
            try:
                generation = instance.generation("jobs")
                for mark in instance.marks("jobs", generation).values():
                    position, by = before.get(mark.partition, (0, generation))
                    if mark.next < position:
                        wrong.append(f"p{mark.partition}: {position} of g{by}, then {mark.next} of g{generation}")
                    before[mark.partition] = (mark.next, generation)
            except GenerationGone:
                continue
            except Exception as error:
                wrong.append(repr(error))
            if stop.wait(0.003):
                return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()
        for instance in instances:
            instance.close()


def new_code(bench, script: str, *arguments: str) -> tuple[int, str]:
    """Exit code and messages of a command of the new version."""
    process = bench.start([sys.executable, "-c", script, *arguments])
    return process.wait(60), bench.said(process).decode()


def readiness(port: int) -> tuple[int, str]:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/health/ready")
    except httpx.TransportError:
        return 0, ""
    return answer.status_code, answer.text


def test_old_and_new_work_side_by_side_there_and_back(bench, clean_fold):
    records, port = traffic(41, 1_500, 3), free_port()
    place = bench.kafka, bench.mongodb, bench.name, bench.log.topic
    bench.append(records[:200])
    old = bench.process()
    bench.wait_projected(200)
    new = bench.start(
        [sys.executable, "-c", PROJECTOR, "--group", f"{bench.name}-group"], DARKROOM_HEALTH_PORT=str(port)
    )
    with readers(bench) as wrong, bench.traffic_on(records[200:], 3, 0.02, rest=False) as appended:
        wait_until(lambda: "no generation of jobs was made by the folds" in readiness(port)[1], "it says so")
        assert readiness(port)[0] == 503
        assert b"run `darkroom replay`" in bench.said(new)
        code, said = new_code(bench, DARKROOM, "replay", "jobs")
        assert (code, alias_of(bench.store, JOBS)["live"]) == (0, 2), said
        wait_until(lambda: readiness(port)[0] == 200, "the new one carries its generation")
        moving = bench.projected(1), bench.projected(2)
        wait_until(lambda: bench.projected(1) > moving[0] and bench.projected(2) > moving[1], "both are carried on")
        assert roll_back(bench.store, bench.log, bench.log.topic, JOBS) == 1
        code, said = new_code(bench, ROLL_BACK, *place)
        assert (code, alias_of(bench.store, JOBS)["live"]) == (0, 2), said
    assert len(appended) < len(records) - 200, "there was traffic to the end"
    records = records[:200] + appended
    for generation in (1, 2):
        bench.wait_projected(len(records), generation)
    assert bench.checksums(1) == clean_fold(records)
    assert bench.checksums(2) == clean_fold(records, family=newer(JOBS))
    assert bench.checksums(1)["jobs"] != bench.checksums(2)["jobs"]
    assert wrong == []
    old.terminate()
    assert old.wait(10) == 0
    bench.append(more := traffic(42, 10, 3))  # nobody folds them for generation 1
    bench.wait_projected(len(records) + len(more))
    left = bench.checksums(1)
    code, said = new_code(bench, ROLL_BACK, *place)
    assert code == 1
    assert "generation 1 of jobs stands" in said
    assert "start a projector of the version that made it" in said
    assert (alias_of(bench.store, JOBS)["live"], bench.checksums(1)) == (2, left)
    old_code_without_its_generation_disturbs_nobody(bench, clean_fold, records + bench.at_the_end_of(records, more))
    new.terminate()
    assert new.wait(10) == 0


def old_code_without_its_generation_disturbs_nobody(bench, clean_fold, records) -> None:
    assert prune(bench.store, JOBS) == [1]
    bench.wait_projected(len(records))
    before = list(bench.store.checkpoints.find({"family": "jobs"}, {"end_seen_at": 0}))
    port = free_port()
    old = bench.process(DARKROOM_HEALTH_PORT=str(port))
    wait_until(lambda: "no generation of jobs was made by the folds" in readiness(port)[1], "it says so")
    assert readiness(port)[0] == 503
    assert b"run `darkroom replay`" in bench.said(old)
    assert list(bench.store.checkpoints.find({"family": "jobs"}, {"end_seen_at": 0})) == before
    assert bench.checksums() == clean_fold(records, family=newer(JOBS))
    old.terminate()
    assert old.wait(10) == 0
