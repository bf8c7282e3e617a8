"""Read model `runs`: one document per run, which is the job's latest run at the time of its events."""

from darkroom.projector.projections.step import Document, Step
from darkroom.schemas.job import Status

_DELETED = str(Status.DELETED)


class Runs:
    """What a batch changes in `runs`. `changed`: whole documents; `removed`: those that a deletion takes away."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, int], tuple[Document, Document, int]] = {}
        self._gone: dict[str, None] = {}

    def see(self, step: Step) -> None:
        """Takes in the next step of the partition."""
        if step.envelope is None or not step.accepted or step.after is None:
            return
        job = step.after
        if job["status"] == _DELETED:
            if step.run_before is not None:
                for number in range(1, step.run_before["run"] + 1):
                    self._latest.pop((job["_id"], number), None)
                    self._gone[f"{job['_id']}:{number}"] = None
            return
        run = job["run"]
        if run is not None:  # the run is replaced at each of its events, never changed: this one is final, so far
            self._latest[job["_id"], run["run"]] = job, run, job["position"]

    def changed(self) -> dict[str, Document]:
        """The documents by id."""
        return {
            f"{key}:{number}": {
                "_id": f"{key}:{number}",
                "job": key,
                "tenant": job["tenant"],
                "partition": job["partition"],
                "position": position,
                **run,
            }
            for (key, number), (job, run, position) in self._latest.items()
        }

    def removed(self) -> dict[str, None]:
        """The ids of the documents that are gone."""
        return self._gone
