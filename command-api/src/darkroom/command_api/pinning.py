"""Which model a run gets: decided at the door, and pinned by name, version and digest."""

from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.writer import ModelWriter
from darkroom.schemas.job import ModelRef

_AT = "#/model"


def pin(models: ModelWriter, reference: str, deadline: float) -> ModelRef:
    """The model behind `name` or `name@version`, if it may be used for new runs. Raises ProblemError (unknown-model
    or model-retired, after a barrier), LogUnavailable, TailBehind."""
    head, entry = models.find(reference, deadline)
    if entry is None and not head.entries:
        raise ProblemError(
            "unknown-model", f"There is no model {reference}.", errors=[(_AT, "There is no such model.")]
        )
    if entry is None and "@" in reference:
        raise ProblemError(
            "unknown-model",
            f"Model {reference.partition('@')[0]} has no such version.",
            errors=[(_AT, "There is no such version.")],
        )
    if entry is None or entry.retired:
        raise ProblemError(
            "model-retired", f"Model {reference} is retired.", errors=[(_AT, "The model is retired.")]
        )
    found = entry.description
    return ModelRef(found.name, found.version, str(found.artifact["digest"]))
