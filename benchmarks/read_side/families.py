"""The family of jobs with some of its read models only."""

from darkroom.projector.projections.families import JOBS, Family


def family(read_models: str) -> Family:
    """`read_models`: names with commas between them, or "all"."""
    return JOBS if read_models == "all" else JOBS.only(*read_models.split(","))
