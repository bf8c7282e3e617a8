"""The live projector: events per second and processor time of a backlog, against its parts and a peer; and how long
an event takes to become readable.

    .venv/bin/python benchmarks/projection.py [--rounds 3] [--events 100000]

Starts a broker and a MongoDB of its own, fills a topic of eight partitions, and stops them. In each round all cases
are run, in shuffled order; what is to be compared are the ratios within a round, and the processor time per event,
which other load on the machine disturbs least. Prints Markdown.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

from bench import processes
from bench.tables import over, ratio, table
from read_side.cases import bare, plain, play, say
from read_side.figures import Figure
from read_side.live import backlog, latency
from read_side.postgres import postgres
from read_side.report import processor, rates
from read_side.stage import Stage, stage

RATES = (10, 100, 1_000)
READ_MODELS = ("all", "jobs")
PEERS = ("popo", "sqlite", "postgres")
WARM_UP = ("bare", "all, 1 process")
"""Played once before the first round, above all for the broker's compiled code."""
GOALS = {"plain, 1 thread": "≥ 0.8", "plain, 2 threads": "≥ 0.8", "bare": "≥ 0.35"}
Cases = dict[str, Callable[[], Figure]]


def cases_on(on: Stage, topic: str, ends: Mapping[int, int]) -> Cases:
    """What is compared on one topic."""
    cases: Cases = {"bare": partial(bare, on, topic, ends, 1)}
    for read_models in READ_MODELS:
        cases[f"{read_models}, 1 process"] = partial(backlog, on, topic, ends, read_models, 1)
        cases[f"{read_models}, 2 processes"] = partial(backlog, on, topic, ends, read_models, 2)
        for threads in (1, 2):
            name = f"{read_models}, plain, {threads} thread{'s' if threads > 1 else ''}"
            cases[name] = partial(plain, on, topic, ends, read_models, threads)
    return cases


@contextmanager
def peers(on: Stage, events: int) -> Iterator[tuple[Cases, list[str]]]:
    """The cases of the peer, and what is missing on this machine for others."""
    if not (processes.PEERS / "eventsourcing").exists():
        yield {}, ["eventsourcing is not installed (make bench-peers): no cases of that library"]
        return
    with postgres(on.folder / "postgres.log") as server:

        def run(recorder: str) -> Figure:
            with tempfile.TemporaryDirectory(dir=on.folder) as folder:
                where = str(server.port) if server and recorder == "postgres" else folder
                before = server.cpu_s() if server else 0.0
                found = on.run([["-m", "read_side.peer", recorder, str(events), "1", where]])
                if server is None or recorder != "postgres":
                    return found
                return Figure(found.events, found.took_s, {**found.cpu_s, "postgres": server.cpu_s() - before})

        known = [name for name in PEERS if server or name != "postgres"]
        missing = (
            [] if server else ["no postgres on the PATH (Debian: apt-get install postgresql): no case with it"]
        )
        yield {f"eventsourcing, {name}": partial(run, name) for name in known}, missing


def ratios(rounds: Sequence[Mapping[str, Figure]]) -> str:
    """The projector against the same transactions without its layers, the bare loop, and one process."""
    rows = []
    for read_models in READ_MODELS:
        mine, two = f"{read_models}, 1 process", f"{read_models}, 2 processes"
        others = {
            "plain, 1 thread": (mine, f"{read_models}, plain, 1 thread"),
            "plain, 2 threads": (mine, f"{read_models}, plain, 2 threads"),
            "bare": (mine, "bare"),
        }
        found = {name: pair for name, pair in others.items() if all(case in rounds[0] for case in pair)}
        rows += [
            [read_models, f"1 process / {name}", ratio([r[one].rate / r[other].rate for r in rounds]), GOALS[name]]
            for name, (one, other) in found.items()
        ]
        if mine in rounds[0] and two in rounds[0]:
            rows.append(
                [read_models, "2 processes / 1", ratio([r[two].rate / r[mine].rate for r in rounds]), "≥ 1.3"]
            )
    return table(["read models", "ratio", "measured", "goal"], rows)


def against_peers(rounds: Sequence[Mapping[str, Figure]]) -> str:
    """The projector of `jobs` alone in multiples of the peer's projections. `popo` keeps nothing: no goal."""
    mine = "jobs, 1 process"
    rows = [
        [case, ratio([r[mine].rate / r[case].rate for r in rounds]), "" if case.endswith("popo") else "≥ 10"]
        for case in rounds[0]
        if case.startswith("eventsourcing") and mine in rounds[0]
    ]
    return table([f"live, {mine} / …", "measured", "goal"], rows)


def latencies(rounds: Sequence[Mapping[int, Figure]]) -> str:
    """Append to readable, at each rate."""
    rows = [
        [
            f"{rate:,}/s",
            over([r[rate].more["p50_ms"] for r in rounds], ".1f"),
            over([r[rate].more["p99_ms"] for r in rounds], ".1f"),
            over([r[rate].more["question_ms"] for r in rounds], ".1f"),
            over([r[rate].more["projector_ms"] for r in rounds], ".2f"),
            over([r[rate].us_per_event("mongodb") / 1e3 for r in rounds], ".2f"),
        ]
        for rate in rounds[0]
    ]
    head = [
        "rate",
        "p50 ms",
        "p99 ms",
        "two questions take, ms",
        "projector's CPU ms an event",
        "MongoDB's CPU ms an event",
    ]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=100_000, help="of the backlog")
    parser.add_argument("--peer-events", type=int, default=10_000, help="for the peer, which is slower; 0: none")
    parser.add_argument("--seconds", type=float, default=20.0, help="at each rate, per round; 0: none")
    parser.add_argument("--cases", nargs="*", default=None, help="only these; without a name: none")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack is stopped too
    begun = monotonic()
    rounds: list[dict[str, Figure]] = []
    readable: list[dict[int, Figure]] = []
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder,
        stage(Path(folder)) as on,
        peers(on, options.peer_events) as (of_peers, missing),
    ):
        for line in missing:
            say(line)
        say(f"filling a topic with {options.events:,} events")
        topic = "bench.backlog"
        ends = on.fill(topic, options.events)
        cases = cases_on(on, topic, ends) | (of_peers if options.peer_events else {})
        if options.cases is not None:
            cases = {name: case for name, case in cases.items() if name in options.cases}
        say("warming up")
        play(on, {name: case for name, case in cases.items() if name in WARM_UP})
        for number in range(options.rounds):
            say(f"round {number + 1}")
            rounds.append(play(on, cases))
            found = {}
            for rate in random.sample(RATES, len(RATES)) if options.seconds else ():
                found[rate] = figure = latency(on, rate, options.seconds)
                say(f"  {rate}/s: p50 {figure.more['p50_ms']:.1f} ms, p99 {figure.more['p99_ms']:.1f} ms")
            readable.append({rate: found[rate] for rate in RATES if rate in found})
    print(f"{options.rounds} rounds of {options.events:,} events; {monotonic() - begun:.0f} s in all")
    tables = {}
    if cases:
        tables["Events per second"] = rates(rounds)
        tables["Ratios within a round"] = ratios(rounds)
        tables["Processor time"] = processor(rounds)
    if any(name.startswith("eventsourcing") for name in cases):
        tables["Against the peer"] = against_peers(rounds)
    if options.seconds:
        tables["Append to readable"] = latencies(readable)
    for title, lines in tables.items():
        print(f"\n**{title}**\n\n{lines}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
