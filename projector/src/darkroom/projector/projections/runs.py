"""Read model `runs`: one document per run, which is the job's latest run at the time of its events."""

from collections.abc import Iterator

from darkroom.projector.projections.step import Document, Step
from darkroom.schemas.job import Status


def fold_runs(step: Step) -> Iterator[tuple[str, Document | None]]:
    """The run documents that a step changes, whole; None for those that a deletion takes away."""
    job, before = step.after, step.before
    if step.envelope is None or not step.accepted or job is None:
        return
    if job["status"] == Status.DELETED:
        if before is not None and before["run"] is not None:
            for number in range(1, before["run"]["run"] + 1):
                yield f"{job['_id']}:{number}", None
        return
    run = job["run"]
    if run is not None:
        yield (
            f"{job['_id']}:{run['run']}",
            {
                "_id": f"{job['_id']}:{run['run']}",
                "job": job["_id"],
                "tenant": job["tenant"],
                "partition": job["partition"],
                "position": job["position"],
                **run,
            },
        )
