"""The fold of a job as one would write it in an hour: one dict per job, no question whether an event counts, no
timeline, no care for what a body holds."""

from typing import Any

Job = dict[str, Any]
_STATUS = {
    "created": "created",
    "execution-requested": "queued",
    "execution-started": "running",
    "execution-progressed": "running",
    "execution-succeeded": "succeeded",
    "execution-failed": "failed",
    "attempt-expired": "queued",
    "cancelled": "cancelled",
    "deleted": "deleted",
}


def fold(job: Job | None, event: dict[str, Any], partition: int, offset: int) -> Job:
    """The job after one event (a CloudEvent as JSON gives it). Changes `job`."""
    kind, data = event["type"].split(".")[2], event["data"]
    if job is None:
        job = {"_id": event["subject"], "tenant": event["tenant"], "created_at": event["time"], "event_count": 0}
    if "spec" in data:
        spec = data["spec"]
        job["model"], job["inputs"], job["parameters"] = spec["model"], spec["inputs"], spec["parameters"]
        job["run"] = {"run": event["run"], "requested_at": event["time"], "attempts": []}
    match kind:
        case "created":
            job["labels"] = [f"{key}:{value}" for key, value in data["labels"].items()]
        case "execution-started":
            job["run"]["attempts"].append({"executor": data["executor"], "started_at": event["time"]})
        case "execution-progressed":
            job["run"]["progress"] = {"done": data["done"], "total": data["total"]}
        case "execution-succeeded":
            job["run"]["results"], job["run"]["timing"] = data["results"], data["timing"]
            job["run"]["provenance"], job["run"]["finished_at"] = data["provenance"], event["time"]
        case "execution-failed":
            job["run"]["error"], job["run"]["finished_at"] = data["error"], event["time"]
        case "attempt-expired":
            job["run"]["attempts"][-1]["reason"] = data["reason"]
        case "deleted":
            job["run"], job["labels"], job["inputs"] = None, [], []
    job["status"] = "queued" if kind == "created" and data["execute"] else _STATUS[kind]
    job["updated_at"], job["version"] = event["time"], event["streamversion"]
    job["partition"], job["position"] = partition, offset
    job["event_count"] += 1
    return job
