"""Tables that both benchmarks of the read side print."""

import statistics
from collections.abc import Mapping, Sequence

from bench.tables import over, table

from read_side.figures import Figure

Rounds = Sequence[Mapping[str, Figure]]
_PROCESSES = {"client": "client", "mongodb": "MongoDB", "kafka": "broker"}


def rates(rounds: Rounds) -> str:
    """Events per second."""
    return table(["case", "events/s"], [[case, over([r[case].rate for r in rounds], ",.0f")] for case in rounds[0]])


def processor(rounds: Rounds) -> str:
    """Processor time per event, by process: medians, and for the client how far they reach."""

    def of(case: str, process: str) -> list[float]:
        return [r[case].us_per_event(process) for r in rounds]

    return table(
        ["CPU µs an event", *_PROCESSES.values()],
        [
            [
                case,
                over(of(case, "client"), ".1f"),
                *(f"{statistics.median(of(case, p)):.1f}" for p in ("mongodb", "kafka")),
            ]
            for case in rounds[0]
        ],
    )
