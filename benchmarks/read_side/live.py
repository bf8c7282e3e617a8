"""A backlog worked off by one or more projectors, looked at from outside."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

from bench import processes
from pymongo.read_concern import ReadConcern

from read_side.figures import Figure
from read_side.stage import PARTITIONS, SUM, Stage

_TIMEOUT_S = 900.0
_LOOK_S = 0.02
_WARM_UP_EVENTS = 2_000
_WARM_UP_S = 3.0


def backlog(stage: Stage, topic: str, ends: Mapping[int, int], read_models: str, projectors: int) -> Figure:
    """From the moment they begin, each with its partitions in hand, until the last checkpoint stands at the end. In
    a database of its own, which is then dropped."""
    folder = Path(mkdtemp(prefix="live-", dir=stage.folder))
    database = folder.name
    env = processes.environment(**stage.settings(topic, database))
    argv = [sys.executable, "-m", "read_side.projector", read_models, str(folder), "--group", folder.name]
    with ExitStack() as opened:
        logs = [folder / f"{n}.log" for n in range(projectors)]
        pids = [opened.enter_context(processes.process(argv, log, env)) for log in logs]
        _until(lambda: _assigned(folder) == [PARTITIONS // projectors] * projectors, logs, pids)
        client = opened.enter_context(stage.client())
        checkpoints = client[database].get_collection("checkpoints", read_concern=ReadConcern("majority"))
        servers, before = stage.servers_cpu_s(), sum(map(processes.cpu_s, pids))
        (folder / "go").touch()
        standing = {"family": "jobs"}
        total = sum(ends.values())
        _until(lambda: sum(c["next"] for c in checkpoints.find(standing)) == total, logs, pids)
        ended = time.monotonic()
        cpu_s = {"client": sum(map(processes.cpu_s, pids)) - before, **stage.spent_since(servers)}
        jobs = client[database]["jobs_g1"].estimated_document_count()
    begun = min(float(path.read_text()) for path in folder.glob("begun.*"))
    more = {"jobs": jobs, SUM + read_models: stage.sum_of(database)}
    stage.drop(database)
    return Figure(total, ended - begun, cpu_s, more)


def latency(stage: Stage, rate: int, seconds: float) -> Figure:
    """Append to readable at a fixed rate: the projector as it ships, with a topic and a database of its own. What
    goes before, a small backlog and some seconds at the same rate, does not count."""
    folder = Path(mkdtemp(prefix="rate-", dir=stage.folder))
    topic = database = folder.name
    settings = stage.settings(topic, database)
    stage.fill(topic, _WARM_UP_EVENTS)
    log = folder / "projector.log"
    argv = [sys.executable, "-m", "darkroom.projector", "--group", folder.name]
    with ExitStack() as opened:
        pid = opened.enter_context(processes.process(argv, log, processes.environment(**settings)))
        client = opened.enter_context(stage.client())
        checkpoints = client[database]["checkpoints"]

        def ready() -> bool:
            standing: int = sum(c["next"] for c in checkpoints.find({"family": "jobs"}))
            return standing == _WARM_UP_EVENTS

        _until(ready, [log], [pid])
        appending = ["-m", "read_side.appending"]
        stage.run([[*appending, str(rate), str(_WARM_UP_S), "2"]], settings)
        before = processes.cpu_s(pid)
        found = stage.run([[*appending, str(rate), str(seconds), "3"]], settings)
        projector_ms = (processes.cpu_s(pid) - before) * 1e3 / found.events
    stage.drop(database)
    return Figure(found.events, found.took_s, found.cpu_s, {**found.more, "projector_ms": projector_ms})


def _assigned(folder: Path) -> list[int]:
    return [int(path.read_text() or 0) for path in folder.glob("assigned.*")]


def _until(true: Callable[[], bool], logs: list[Path], pids: list[int]) -> None:
    until = time.monotonic() + _TIMEOUT_S
    while not true():
        if time.monotonic() > until or not all(_runs(pid) for pid in pids):
            raise SystemExit("\n".join(log.read_text()[-2000:] for log in logs))
        time.sleep(_LOOK_S)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
