"""What a run can come to: a closed set, matched exhaustively by the worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.schemas.job import Problem


@dataclass(frozen=True)
class Picture:
    """One input: the digest it was accepted under (``sha256:<hex>``, empty = unchecked), and its bytes."""

    digest: str
    data: bytes


@dataclass(frozen=True)
class RunRequest:
    """One run. ``key`` names it for ``stop``; ``model`` is its description in the catalogue; the paths are local
    files with the model's artifact and its label map (a UTF-8 JSON array of strings), verified by the child."""

    key: str
    model: Mapping[str, Any]
    artifact_path: Path
    labels_path: Path
    pictures: tuple[Picture, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Succeeded:
    """One entry per input, in order; decode_ms, inference_ms and model_load_ms; what makes it reproducible."""

    results: tuple[Mapping[str, Any], ...]
    timing: Mapping[str, float]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class ModelRefused:
    """The model cannot be used, however often it is tried."""

    problem: Problem


@dataclass(frozen=True)
class Crashed:
    """The child ended, or spoke nonsense, during the run. ``exit_signal``: the signal that ended it, if one did."""

    detail: str
    exit_signal: int | None


@dataclass(frozen=True)
class DeadlineExceeded:
    """The run took longer than ``deadline_s`` and its child was killed."""

    deadline_s: float


@dataclass(frozen=True)
class Stopped:
    """The run was stopped on request, or its pool closed."""


Outcome = Succeeded | ModelRefused | Crashed | DeadlineExceeded | Stopped
