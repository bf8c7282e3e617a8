"""Figures of several rounds as cells of Markdown tables: medians, and how far they reach."""

import statistics
from collections.abc import Sequence


def over(values: Sequence[float], form: str) -> str:
    """Median (lowest–highest); a single value stands alone."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def ratio(values: Sequence[float]) -> str:
    """Ratios, one of each round: median [lowest–highest]."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
