"""From figures to tables: medians of rates, ratios within a round, and how far both reach over the rounds."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.tables import over, ratio, table

from command_path.cases import Figure

Rounds = Sequence[Mapping[tuple[str, int], Figure]]
"""Per round, by case and connections; 0 connections: at the fixed rate."""

GOALS = {"report": "≥ 0.9", "celery": "≥ 2", "celery-threads": "≥ 1"}


def _ratio(rounds: Rounds, one: tuple[str, int], other: tuple[str, int]) -> str:
    return ratio([r[one].measured.rate / r[other].measured.rate for r in rounds])


def rates(rounds: Rounds, cases: Sequence[str], connections: Sequence[int]) -> str:
    """Commands per second, and p50 there."""
    return table(
        ["case", *(f"commands/s at {c}" for c in connections), *(f"p50 ms at {c}" for c in connections)],
        [
            [
                case,
                *(over([r[case, c].measured.rate for r in rounds], ",.0f") for c in connections),
                *(f"{statistics.median(r[case, c].measured.p50_ms for r in rounds):.1f}" for c in connections),
            ]
            for case in cases
        ],
    )


def ratios(rounds: Rounds, cases: Sequence[str], connections: Sequence[int], of: str = "full") -> str:
    """`of` as a multiple of each other case, in the same round at the same concurrency."""
    return table(
        [f"{of} / …", *(f"at {c}" for c in connections), "goal"],
        [
            [case, *(_ratio(rounds, (of, c), (case, c)) for c in connections), GOALS.get(case, "")]
            for case in cases
            if case != of
        ],
    )


def processor(rounds: Rounds, cases: Sequence[str], connections: Sequence[int]) -> str:
    """Seconds of processor time per 1,000 commands, by process: medians."""
    names = ("door", "broker", "redis", "client")

    def cell(case: str, c: int) -> str:
        found = {n: [r[case, c].cpu_ms[n] for r in rounds] for n in names if n in rounds[0][case, c].cpu_ms}
        return " + ".join(f"{statistics.median(values):.2f} {name}" for name, values in found.items())

    return table(
        ["CPU s per 1,000", *(f"at {c}" for c in connections)],
        [[case, *(cell(case, c) for c in connections)] for case in cases],
    )


def latencies(rounds: Rounds, cases: Sequence[str], against: str) -> str:
    """p50 and p99 at the fixed rate, the difference of p50 to another case in each round, and CPU."""

    def of(case: str, value: Callable[[Figure], float]) -> list[float]:
        return [value(r[case, 0]) for r in rounds]

    base = of(against, lambda f: f.measured.p50_ms)
    return table(
        ["case", "p50 ms", "p99 ms", f"p50 over {against}, ms", "CPU s per 1,000 (all processes)"],
        [
            [
                case,
                over(of(case, lambda f: f.measured.p50_ms), ".1f"),
                over(of(case, lambda f: f.measured.p99_ms), ".1f"),
                over([a - b for a, b in zip(of(case, lambda f: f.measured.p50_ms), base, strict=True)], "+.1f"),
                f"{statistics.median(of(case, lambda f: sum(f.cpu_ms.values()))):.2f}",
            ]
            for case in cases
        ],
    )
