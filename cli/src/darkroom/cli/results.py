"""Results of a job as rows for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

ROWS_PER_INPUT_MAX = 10


def results_table(job: Mapping[str, Any], names: Sequence[str]) -> Table:
    """A table of a job's results; `names` of its inputs, in order."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("input", "label", "score", "box (x, y, w, h in px)"):
        table.add_column(title, justify="right" if title == "score" else "left", no_wrap=title != "label")
    for row in rows(job.get("results") or [], names):
        table.add_row(*(escape(cell) for cell in row))
    return table


def rows(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Input, label, score, box; an input that could not be used has its problem for a label."""
    for result in results:
        number = int(result.get("input", 0))
        name = names[number] if number < len(names) else str(number)
        if "error" in result:
            yield name, f"! {result['error'].get('title')}: {result['error'].get('detail')}", "", ""
            continue
        found = result.get("classes") if result.get("kind") == "classification" else result.get("detections")
        for one in (found or [])[:ROWS_PER_INPUT_MAX]:
            box = ", ".join(f"{side:.0f}" for side in one.get("box", ()))
            yield name, str(one["label"]), f"{one['score']:.3f}", box
            name = ""
        left = len(found or []) - ROWS_PER_INPUT_MAX
        if left > 0:
            yield "", f"… and {left} more", "", ""
        if not found:
            yield name, "(nothing over the score)", "", ""


def inputs_with_errors(job: Mapping[str, Any]) -> int:
    """How many inputs could not be used."""
    return sum("error" in result for result in job.get("results") or [])


def in_short(job: Mapping[str, Any]) -> str:
    """The outcome on one line: top class or boxes of each input, or why there is none."""
    error = job.get("error")
    if error:
        return f"{error.get('title')}: {error.get('detail')}"
    parts = []
    for result in job.get("results") or []:
        if "error" in result:
            parts.append(f"! {result['error'].get('title')}")
        elif result.get("kind") == "classification":
            classes = result.get("classes") or []
            parts.append(f"{classes[0]['label']} {classes[0]['score']:.2f}" if classes else "(nothing)")
        else:
            labels = [one["label"] for one in result.get("detections") or []]
            counted = [f"{labels.count(label)} {label}" for label in dict.fromkeys(labels)]
            parts.append(" + ".join(counted) or "(nothing)")
    return "; ".join(parts)
