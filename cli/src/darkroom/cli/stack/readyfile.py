"""The ready file: where a running stack is to be found, as JSON, for scripts and for the other commands."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_ready_file(path: Path, content: Mapping[str, Any]) -> None:
    """Writes it whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    os.replace(half, path)


def remove_ready_files(paths: Iterable[Path], up_pid: int) -> None:
    """Removes those that are still of the `darkroom up` with this pid: a later one may have written its own."""
    for path in paths:
        if read_ready_file(path).get("up_pid") == up_pid:
            path.unlink(missing_ok=True)


def read_ready_file(path: Path) -> dict[str, Any]:
    """Its content; empty if there is none. Raises ValueError if it is something else."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a ready file")
    return content
