"""Commands on the model catalogue: a file and its description become an event. Knows no Flask."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from darkroom.command_api.caller import Caller
from darkroom.runtime.blobs import BlobStore, digest_of
from darkroom.runtime.http.fields import invalid
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.protocol import Accepted
from darkroom.runtime.writer import ModelWriter
from darkroom.schemas import model
from darkroom.schemas.errors import Refused
from darkroom.schemas.job import Why

_RUNTIME_OF = {"tflite": "litert", "tar.gz": "tf-savedmodel"}
_HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class ModelCommands:
    """What clients may do with models. Raises as JobCommands does."""

    writer: ModelWriter
    blobs: BlobStore
    deadline_s: float

    def register(
        self, name: str, version: str, body: Mapping[str, Any], file: Path, caller: Caller
    ) -> tuple[Accepted, str]:
        """Keeps the file and the label map, and registers the version; gives the file's digest too."""
        artifact = _artifact(file, body)
        labels = orjson.dumps(body["labels"])
        description = model.Description(
            name=name,
            version=version,
            kind=body["kind"],
            runtime=body["runtime"],
            source=body["source"],
            artifact=artifact,
            input=body["input"],
            output=body["output"],
            labels={"digest": digest_of(labels), "count": len(body["labels"])},
        )
        self._check_condition(name, version, caller)
        self.blobs.put(labels)
        self.blobs.put(file)
        identity = caller.identity("register", f"{name}@{version}", asdict(description))
        context = caller.context(name, identity.command_id)
        deadline = monotonic() + self.deadline_s  # begins after the upload
        try:
            accepted = self.writer.execute(name, model.Register(description), identity, context, deadline)
        except Refused as error:
            raise _as_problem(error) from None
        return accepted, str(artifact["digest"])

    def retire(self, name: str, version: str, caller: Caller) -> tuple[Accepted, str]:
        """Retires a version; gives its file's digest too."""
        self._check_condition(name, version, caller)
        identity = caller.identity("retire", f"{name}@{version}", {})
        context = caller.context(name, identity.command_id)
        try:
            accepted = self.writer.execute(
                name, model.Retire(name, version), identity, context, monotonic() + self.deadline_s
            )
        except Refused as error:
            raise _as_problem(error) from None
        entry: model.Entry = accepted.outcome.entries[version]
        return accepted, str(entry.description.artifact["digest"])

    def _check_condition(self, name: str, version: str, caller: Caller) -> None:
        """A version of a model never changes and has no entity tag: of If-Match, only `*` can hold, once it is
        registered."""
        if caller.condition is None:
            return
        deadline = monotonic() + self.deadline_s
        if not caller.condition.any or self.writer.find(f"{name}@{version}", deadline)[1] is None:
            raise ProblemError(
                "version-differs",
                "A model's version has no entity tag; If-Match: * holds once it is registered.",
                errors=[("If-Match", "Does not hold.")],
            )


def _artifact(file: Path, body: Mapping[str, Any]) -> dict[str, Any]:
    """The file as it is: digest, size, and format by its content. Raises ProblemError if the description says
    otherwise, or if it is no model."""
    form = _format(file)
    if form is None:
        raise ProblemError(
            "unsupported-model",
            "The file is neither a TensorFlow Lite model nor a gzipped tar archive.",
            errors=[("#/file", "Not a .tflite file or a .tar.gz archive.")],
        )
    if _RUNTIME_OF[form] != body["runtime"]:
        raise invalid([("#/description/runtime", f"The file's format is {form}, so this is {_RUNTIME_OF[form]}.")])
    found = {"digest": digest_of(file), "size_bytes": file.stat().st_size, "format": form}
    wrong = [
        (f"#/description/artifact/{name}", "The file that was sent differs.")
        for name, value in body["artifact"].items()
        if found[name] != value
    ]
    if wrong:
        raise invalid(wrong)
    return found


def _format(file: Path) -> str | None:
    with file.open("rb") as content:
        head = content.read(_HEAD_BYTES)
    if head[4:8] == b"TFL3":
        return "tflite"
    return "tar.gz" if head[:2] == b"\x1f\x8b" else None


def _as_problem(error: Refused) -> Exception:
    detail = error.refusal.detail
    match error.refusal.why:
        case Why.UNKNOWN:
            return ProblemError("unknown-model", detail, status=404)
        case Why.DELETED:
            return ProblemError("model-retired", detail, status=410)
        case _:
            return error
