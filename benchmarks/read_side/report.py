"""Tables that both benchmarks of the read side print."""

import statistics
from collections.abc import Mapping, Sequence

from bench.tables import over, table

from read_side.figures import Figure

Rounds = Sequence[Mapping[str, Figure]]
_PROCESSES = {"client": "client", "mongodb": "MongoDB", "kafka": "broker", "postgres": "PostgreSQL"}


def rates(rounds: Rounds) -> str:
    """Events per second."""
    return table(["case", "events/s"], [[case, over([r[case].rate for r in rounds], ",.0f")] for case in rounds[0]])


def processor(rounds: Rounds) -> str:
    """Processor time per event, by process: medians, and for the client how far they reach."""

    def of(case: str, process: str) -> list[float]:
        return [r[case].us_per_event(process) for r in rounds]

    def cell(case: str, process: str) -> str:
        if process not in rounds[0][case].cpu_s:
            return ""
        return (
            over(of(case, process), ".1f") if process == "client" else f"{statistics.median(of(case, process)):.1f}"
        )

    worked = [p for p in _PROCESSES if any(p in figure.cpu_s for figure in rounds[0].values())]
    return table(
        ["CPU µs an event", *(_PROCESSES[p] for p in worked)],
        [[case, *(cell(case, p) for p in worked)] for case in rounds[0]],
    )
