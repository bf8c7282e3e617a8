"""The cases that both benchmarks of the read side have, and a round of cases."""

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from read_side.figures import Figure
from read_side.stage import SUM, Stage

Cases = Mapping[str, Callable[[], Figure]]


def say(text: str) -> None:
    """Progress goes beside the tables."""
    print(text, file=sys.stderr, flush=True)


def play(on: Stage, cases: Cases) -> dict[str, Figure]:
    """One round, in an order of its own. Ends the benchmark if two cases found different numbers of jobs, or made
    different documents of the same read models."""
    figures = {}
    for name in random.sample(list(cases), len(cases)):
        on.rest()
        figures[name] = found = cases[name]()
        say(f"  {name}: {found.rate:,.0f} events/s, client {found.us_per_event('client'):.1f} µs an event")
    jobs = {f.more["jobs"] for name, f in figures.items() if not name.startswith("eventsourcing")}
    assert len(jobs) <= 1, f"not all cases found the same number of jobs: {jobs}"
    sums = {(name, value) for f in figures.values() for name, value in f.more.items() if name.startswith(SUM)}
    assert len(sums) == len({name for name, _ in sums}), f"cases made different documents: {sums}"
    return {name: figures[name] for name in cases}


def bare(on: Stage, topic: str, ends: Mapping[int, int], processes: int) -> Figure:
    """Consume, parse, fold; each process has its share of the partitions."""
    shares = [[f"{p}={end}" for p, end in ends.items() if p % processes == n] for n in range(processes)]
    return on.run([["-m", "read_side.bare", on.kafka, topic, *share] for share in shares])


def plain(on: Stage, topic: str, ends: Mapping[int, int], read_models: str, threads: int) -> Figure:
    """The live projector's transactions without its layers, in a database of its own, which is then dropped."""
    database = Path(mkdtemp(prefix="plain-", dir=on.folder)).name
    stops = [f"{p}={end}" for p, end in ends.items()]
    argv = ["-m", "read_side.plain", read_models, str(threads), *stops]
    found = on.run([argv], on.settings(topic, database))
    sums = {SUM + read_models: on.sum_of(database)}
    on.drop(database)
    return Figure(found.events, found.took_s, found.cpu_s, {**found.more, **sums})
