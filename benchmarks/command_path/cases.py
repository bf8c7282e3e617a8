"""What is compared: each case can be driven with so many connections or threads, and tells who worked for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import processes
from bench.processes import Running

from command_path import redis as store
from command_path.measured import Measured

_SPARE_S = 60.0
OPEN_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Figure:
    """One case at one concurrency in one round. `cpu_ms`: processor time per command, by process."""

    measured: Measured
    cpu_ms: Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """`argv(connections, seconds)` is the client's command line; `servers` are those whose time is counted."""

    name: str
    argv: Callable[[int, float], list[str]]
    servers: Mapping[str, Running]
    open_argv: Callable[[float, float], list[str]] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    redis: Running | None = None

    def run(self, connections: int, seconds: float) -> Figure:
        """As fast as it goes."""
        return self._run(self.argv(connections, seconds), seconds)

    def run_open(self, rate: float, seconds: float) -> Figure:
        """At a fixed rate."""
        assert self.open_argv
        return self._run(self.open_argv(rate, seconds), seconds)

    def _run(self, argv: list[str], seconds: float) -> Figure:
        before = {name: server.cpu_s() for name, server in self.servers.items()}
        measured = Measured.heard(processes.client(argv, seconds + _SPARE_S, **self.env))
        spent = {name: server.cpu_s() - before[name] for name, server in self.servers.items()}
        if self.redis:
            store.empty(self.redis)
        cpu_s = {**spent, "client": measured.cpu_s}
        return Figure(measured, {name: s * 1000 / measured.count for name, s in cpu_s.items()})


def over_http(
    name: str, door: Running, servers: Mapping[str, Running], request: Path, redis: Running | None = None
) -> Case:
    """A door, under `load.py`."""
    load = ["-m", "command_path.load", str(door.port), str(request)]
    return Case(
        name,
        lambda connections, seconds: [*load, "closed", str(connections), str(seconds)],
        {"door": door, **servers},
        lambda rate, seconds: [*load, "open", str(OPEN_CONNECTIONS), str(seconds), str(rate)],
        redis=redis,
    )


def bare_produce(bootstrap: str, from_topic: str, to_topic: str, broker: Running) -> Case:
    """Produce and wait, without HTTP."""
    argv = ["-m", "command_path.bare", bootstrap, from_topic, to_topic]
    return Case("bare", lambda threads, seconds: [*argv, str(threads), str(seconds)], {"broker": broker})


def celery_threads(body: Path, redis: Running) -> Case:
    """Celery's `.delay()`, without HTTP."""
    argv = ["-m", "command_path.celery_threads", str(body)]
    return Case(
        "celery-threads",
        lambda threads, seconds: [*argv, str(threads), str(seconds)],
        {"redis": redis},
        env={"BENCH_REDIS": f"redis://{processes.HOST}:{redis.port}/0"},
        redis=redis,
    )
