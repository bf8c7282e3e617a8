"""Models on this machine: those that come with the repository, and files and folders that a user names."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.cli.errors import UserError

_REPOSITORY = Path(__file__).resolve().parents[4]
ARTIFACTS = ("model.tflite", "model.tar.gz")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model ready to be registered: `description` with its labels as a list of names, `artifact` the file."""

    description: Mapping[str, Any]
    artifact: Path

    @property
    def reference(self) -> str:
        return f"{self.description['name']}@{self.description['version']}"


def models_folder() -> Path:
    """The folder `models` of the repository, or what DARKROOM_MODELS says. Raises UserError."""
    folder = Path(os.environ.get("DARKROOM_MODELS") or _REPOSITORY / "models")
    if not (folder / "bundled").is_dir():
        raise UserError(
            f"{folder} holds no bundled models: run this in a checkout, or let DARKROOM_MODELS name its `models`"
        )
    return folder


def bundled() -> list[ModelFile]:
    """The models of the repository, by name. Raises UserError."""
    found = []
    for description in sorted((models_folder() / "bundled").glob("*/description.json")):
        artifact = next((p for name in ARTIFACTS if (p := description.with_name(name)).is_file()), None)
        if artifact is None:
            raise UserError(f"{description.parent} holds no {' or '.join(ARTIFACTS)}")
        found.append(ModelFile(json.loads(description.read_text("utf-8")), artifact))
    return found


def catalogued(name: str) -> Mapping[str, Any]:
    """The entry of a public model in the catalogue file. Raises UserError."""
    entries = json.loads((models_folder() / "catalogue.json").read_text("utf-8"))["models"]
    for entry in entries:
        if entry["name"] == name:
            return dict(entry)
    raise UserError(f"the catalogue holds no {name}; it holds {', '.join(e['name'] for e in entries)}")


def described(path: Path, work_folder: Path, **overrides: Any) -> ModelFile:
    """The model in a .tflite file, a SavedModel folder or an archive of one. `overrides` as those of
    `darkroom.executor.describe.describe_file`. Raises UserError."""
    # Only here, for it brings numpy with it.
    from darkroom.executor.describe import DescribeError, describe_file

    try:
        found = describe_file(path, work_folder, **{k: v for k, v in overrides.items() if v is not None})
    except DescribeError as error:
        raise UserError(str(error)) from None
    if overrides.get("name") is None:
        found.description["name"] = found.description["name"].lower()  # the service's names are in lower case
    kept = {k: found.description[k] for k in ("name", "version", "kind", "runtime", "input", "output")}
    return ModelFile({**kept, "labels": json.loads(found.labels)}, found.artifact_path)
