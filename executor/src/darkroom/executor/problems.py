"""Why a model or a picture was refused: problem types of the executor, each with a detail to act on."""

from darkroom.schemas.job import Problem

PREFIX = "urn:darkroom:problem:"


class ModelError(Exception):
    """The model cannot be used, now or later; ends the run. Carries the ``problem``."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class PictureError(Exception):
    """One picture cannot be used; becomes that input's ``error`` and leaves the others alone."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def model_crashed(detail: str) -> Problem:
    return Problem(PREFIX + "model-crashed", "The model crashed its process", detail)


def deadline_exceeded(deadline_s: float) -> Problem:
    detail = f"The run was not finished after {deadline_s:g} s and was stopped. Give it a longer deadline_s."
    return Problem(PREFIX + "deadline-exceeded", "The run took too long", detail)


def digest_mismatch(what: str, expected: str, found: str) -> Problem:
    detail = f"The {what} should be {expected}, but the file is {found}. Register the model again."
    return Problem(PREFIX + "model-digest-mismatch", "The model's files are not the registered ones", detail)


def model_unsupported(detail: str) -> Problem:
    return Problem(PREFIX + "model-unsupported", "The model needs what this executor does not have", detail)


def model_invalid(detail: str) -> Problem:
    return Problem(PREFIX + "model-invalid", "The model cannot be used", detail)


def picture_broken(detail: str) -> Problem:
    return Problem(PREFIX + "picture-broken", "The picture cannot be read", detail)


def picture_too_large(detail: str) -> Problem:
    return Problem(PREFIX + "picture-too-large", "The picture is too large", detail)
