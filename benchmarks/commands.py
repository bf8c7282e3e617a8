"""The command path: accepted commands per second, latency at 100 a second, and processor time, against its parts
and its peers.

    .venv/bin/python benchmarks/commands.py [--rounds 3] [--seconds 4] [--granian]

Starts a broker of its own, every door as a process with a topic of its own, and stops them. In each round all cases
are run at each concurrency, in shuffled order; what is to be compared are the ratios within a round, and the
processor time per command, which other load on the machine disturbs least. Prints Markdown.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from time import monotonic

from command_path import report
from command_path.cases import Case, Figure
from command_path.measured import Measured
from command_path.stage import stage

CONNECTIONS = (1, 16, 64)
RATE = 100.0
WARM_UP_CONNECTIONS = 16


def say(text: str) -> None:
    """Progress goes beside the tables."""
    print(text, file=sys.stderr, flush=True)


def told(case: Case, at: str, found: Measured) -> None:
    """Shows how it goes, and what must not be overlooked."""
    refused = f", {found.refused} REFUSED" if found.refused else ""
    say(f"  {case.name} at {at}: {found.rate:.0f}/s, p50 {found.p50_ms:.1f} ms{refused}")


def play(cases: list[Case], seconds: float, open_seconds: float) -> dict[tuple[str, int], Figure]:
    """One round, in an order of its own. Cases that are compared follow each other: the machine drifts."""
    figures = {}
    for connections in random.sample(CONNECTIONS, len(CONNECTIONS)):
        for case in random.sample(cases, len(cases)):
            figure = figures[case.name, connections] = case.run(connections, seconds)
            told(case, str(connections), figure.measured)
    for case in random.sample(cases, len(cases)):
        if case.open_argv:
            figure = figures[case.name, 0] = case.run_open(RATE, open_seconds)
            told(case, f"{RATE:.0f}/s", figure.measured)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each case at each concurrency, per round")
    parser.add_argument("--open-seconds", type=float, default=8.0, help="of each case at 100 commands/s, per round")
    parser.add_argument("--warm-up-seconds", type=float, default=8.0, help="of each case, before the first round")
    parser.add_argument("--granian", action="store_true", help="the same doors under granian too")
    parser.add_argument("--cases", nargs="*", default=(), help="only these")
    options = parser.parse_args()
    begun = monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder,
        stage(Path(folder), granian=options.granian, only=options.cases) as (cases, missing),
    ):
        for line in missing:
            say(line)
        for case in cases:  # above all for the broker's compiled code
            say(f"warming up: {case.name}")
            case.run(WARM_UP_CONNECTIONS, options.warm_up_seconds)
        rounds = []
        for number in range(options.rounds):
            say(f"round {number + 1}")
            rounds.append(play(cases, options.seconds, options.open_seconds))
    names = [case.name for case in cases]
    doors = [case.name for case in cases if case.open_argv]
    print(f"{options.rounds} rounds, {options.seconds:g} s each, {monotonic() - begun:.0f} s in all")
    tables = {"Commands per second": report.rates(rounds, names, CONNECTIONS)}
    if "full" in names:
        tables["Ratios within a round"] = report.ratios(rounds, names, CONNECTIONS)
    tables["Processor time"] = report.processor(rounds, names, CONNECTIONS)
    if doors:
        against = "report" if "report" in doors else doors[0]
        tables[f"At {RATE:.0f} commands a second"] = report.latencies(rounds, doors, against)
    for title, table in tables.items():
        print(f"\n**{title}**\n\n{table}")


if __name__ == "__main__":
    main()
