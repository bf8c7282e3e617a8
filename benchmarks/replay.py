"""Replay: events per second and processor time of building read models from the log, against bare "consume, parse,
fold" and against the live projector; and memory per job.

    .venv/bin/python benchmarks/replay.py [--rounds 3] [--events 200000] [--large-events 1000000]

Starts a broker and a MongoDB of its own, fills topics of eight partitions, and stops them. In each round all cases
are run, in shuffled order; what is to be compared are the ratios within a round, and the processor time per event,
which other load on the machine disturbs least. Then one round of fewer cases on a larger topic. Prints Markdown.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic

from bench.tables import over, ratio, table
from read_side.cases import bare, play, say
from read_side.figures import Figure
from read_side.live import backlog
from read_side.report import processor, rates
from read_side.stage import Stage, stage

MODELS = {
    "jobs": "jobs",
    "jobs + runs": "jobs,runs",
    "jobs + history": "jobs,history",
    "jobs + stats": "jobs,stats",
    "all": "all",
}
WARM_UP = ("bare", "jobs, 1 process", "live, all")
"""Played once before the first round, above all for the broker's compiled code."""
GOALS = {"jobs, 1 process": "≥ 0.4", "jobs, 2 processes": "≥ 0.5"}
HELD = ("documents_mb", "held_mb")
LARGE = ("bare", "bare, 2 processes", "jobs, 1 process", "jobs, 2 processes", "all, 2 processes")


def replayed(on: Stage, topic: str, read_models: str, workers: int) -> Figure:
    """In the database that `settle` made."""
    env = on.settings(topic, database_of(topic, read_models))
    return on.run([["-m", "read_side.replaying", read_models, str(workers)]], env)


def settle(on: Stage, topic: str, read_models: str) -> None:
    """A live generation at the end of the topic, for replays to be compared with."""
    on.once(["-m", "read_side.settling", read_models], on.settings(topic, database_of(topic, read_models)))


def database_of(topic: str, read_models: str) -> str:
    return f"{topic}-{read_models.replace(',', '-')}".replace(".", "-")


def cases_on(on: Stage, topic: str, ends: Mapping[int, int]) -> dict[str, Callable[[], Figure]]:
    """All cases on one topic."""
    cases: dict[str, Callable[[], Figure]] = {
        "bare": partial(bare, on, topic, ends, 1),
        "bare, 2 processes": partial(bare, on, topic, ends, 2),
    }
    for name, read_models in MODELS.items():
        cases[f"{name}, 1 process"] = partial(replayed, on, topic, read_models, 1)
    for name in ("jobs", "all"):
        cases[f"{name}, 2 processes"] = partial(replayed, on, topic, MODELS[name], 2)
    for name in ("jobs", "all"):
        cases[f"live, {name}"] = partial(backlog, on, topic, ends, MODELS[name], 1)
    return cases


def ratios(rounds: Sequence[Mapping[str, Figure]]) -> str:
    """Each case in multiples of the bare loop and of the live projector with the same read models."""

    def cell(case: str, other: str) -> str:
        return ratio([r[case].rate / r[other].rate for r in rounds]) if other in rounds[0] else ""

    rows = []
    for case in rounds[0]:
        if case.startswith(("bare", "live")):
            continue
        live = f"live, {case.partition(',')[0]}"
        rows.append(
            [case, cell(case, "bare"), GOALS.get(case, ""), cell(case, "bare, 2 processes"), cell(case, live)]
        )
    return table(
        ["replay of", "/ bare", "goal", "/ bare, 2 processes", "/ live, same read models (goal ≥ 2)"], rows
    )


def held(on: Stage, topic: str, ends: Mapping[int, int], read_models: str) -> Figure:
    """What is held of the largest partition."""
    partition, stop = max(ends.items(), key=lambda item: item[1])
    argv = ["-m", "read_side.holding", read_models, str(partition), str(stop)]
    return on.run([argv], on.settings(topic, "none"))


def memory(large: Mapping[str, Figure], holdings: Mapping[str, Figure]) -> str:
    """The documents of the partition in work as they are held, over its jobs. And by how much the process of a
    whole replay grows at most: the partition before may still be on its way into MongoDB, the client reads ahead,
    and the live documents are read in the same process."""
    rows = []
    for name, found in holdings.items():
        jobs, whole = found.more["jobs"], large.get(f"{name}, 1 process")
        cells = [f"{found.more[kind]:.0f} MB, {found.more[kind] * 2**10 / jobs:.2f} kB a job" for kind in HELD]
        rows.append([name, f"{jobs:,.0f}", *cells, f"{whole.more['rss_mb']:.0f} MB" if whole else ""])
    head = ["read models", "jobs of the partition", "documents as BSON", "held", "a whole replay in one process"]
    return table(head, rows)


def switched(rounds: Sequence[Mapping[str, Figure]]) -> str:
    """How long until everything was compared, and until readers read it (indexes and the switch included)."""
    rows = [
        [
            case,
            over([r[case].took_s for r in rounds], ".1f"),
            over([r[case].more["switched_s"] for r in rounds], ".1f") if "switched_s" in figure.more else "",
        ]
        for case, figure in rounds[0].items()
    ]
    return table(["case", "seconds", "until readers read it, s"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=200_000, help="of the topic of these rounds")
    parser.add_argument(
        "--large-events", type=int, default=1_000_000, help="of the topic of the last round; 0: none"
    )
    parser.add_argument("--cases", nargs="*", default=(), help="only these")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack is stopped too
    begun = monotonic()
    tables = {}
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, stage(Path(folder)) as on:
        topic = "bench.small"
        say(f"filling a topic with {options.events:,} events, and making read models of them")
        ends = on.fill(topic, options.events)
        cases = {n: c for n, c in cases_on(on, topic, ends).items() if not options.cases or n in options.cases}
        for read_models in MODELS.values():
            settle(on, topic, read_models)
        say("warming up")
        play(on, {name: case for name, case in cases.items() if name in WARM_UP})
        rounds = []
        for number in range(options.rounds):
            say(f"round {number + 1}")
            rounds.append(play(on, cases))
        tables["Events per second"] = rates(rounds)
        tables["Ratios within a round"] = ratios(rounds)
        tables["Processor time"] = processor(rounds)
        tables["Seconds"] = switched(rounds)
        if options.large_events:
            large = "bench.large"
            say(f"filling a topic with {options.large_events:,} events, and making read models of them")
            large_ends = on.fill(large, options.large_events)
            chosen = {n: c for n, c in cases_on(on, large, large_ends).items() if n in LARGE and n in cases}
            for read_models in (MODELS["jobs"], MODELS["all"]):
                settle(on, large, read_models)
            once = [play(on, chosen)]
            title = f"{options.large_events:,} events, once"
            tables[f"{title}: seconds"] = switched(once)
            tables[f"{title}: events per second"] = rates(once)
            tables[f"{title}: ratios"] = ratios(once)
            tables[f"{title}: processor time"] = processor(once)
            holdings = {name: held(on, large, large_ends, MODELS[name]) for name in ("jobs", "all")}
            tables[f"{title}: memory"] = memory(once[0], holdings)
    print(
        f"{options.rounds} rounds of {options.events:,} events, {rounds[0]['bare'].more['jobs']:,.0f} jobs; "
        f"{monotonic() - begun:.0f} s in all"
    )
    for title, lines in tables.items():
        print(f"\n**{title}**\n\n{lines}")


if __name__ == "__main__":
    main()
