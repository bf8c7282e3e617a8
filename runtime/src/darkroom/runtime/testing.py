"""A write side in a test's own process: accepts commands as the command API would, against a real broker."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition
from time import monotonic
from typing import Any

from darkroom.runtime.blobs import open_blobs
from darkroom.runtime.catalogue import Catalogue
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.eventlog.topics import ensure_all_topics
from darkroom.runtime.heads import Folded, HeadStore
from darkroom.runtime.ids import new_id
from darkroom.runtime.settings import Settings, read_settings
from darkroom.runtime.tail import Tail
from darkroom.runtime.writer import JobWriter, ModelWriter
from darkroom.schemas import job, model
from darkroom.schemas.wire import Context, Envelope, read_envelope

_WAIT_S = 60.0


class World:
    """Accepts commands as the command API would, and hears what becomes of them."""

    def __init__(self, settings: Settings, bundled: Path) -> None:
        """`bundled`: the folder of the bundled models."""
        self.settings = settings
        self._bundled = bundled
        ensure_all_topics(settings)
        self.blobs = open_blobs(settings)
        self._jobs = KafkaLog(settings.kafka, settings.topic_jobs)
        self._models = KafkaLog(settings.kafka, settings.topic_models)
        self._changed = Condition()
        self._events: dict[str, list[Envelope]] = {}
        self.heads = HeadStore(":memory:", self._jobs, on_folded=self._hear)
        catalogue = Catalogue(self._models)
        self._tails = [Tail(self._jobs, self.heads, "jobs"), Tail(self._models, catalogue, "models")]
        for tail in self._tails:
            tail.start()
        self._job_writer = JobWriter(self._jobs, self._tails[0], self.heads)
        self._model_writer = ModelWriter(self._models, self._tails[1], catalogue)

    def close(self) -> None:
        for tail in self._tails:
            tail.stop()
        self._jobs.close(2.0)
        self._models.close(2.0)
        self.heads.close()

    def register(self, name: str, **changes: Any) -> job.ModelRef:
        """Registers a bundled model; `changes` replace fields of its description, `artifact` its file's bytes."""
        folder = self._bundled / changes.pop("like", name)
        raw = json.loads((folder / "description.json").read_text())
        file = next(path for path in folder.iterdir() if path.name.startswith("model."))
        content = changes.pop("content", file.read_bytes())
        form = "tflite" if file.suffix == ".tflite" else "tar.gz"
        labels = json.dumps(raw["labels"]).encode()
        digest = self.blobs.put(content)
        description = model.Description(
            name=name,
            version="1",
            kind=raw["kind"],
            runtime=raw["runtime"],
            source={"type": "upload"},
            artifact={"digest": digest, "size_bytes": len(content), "format": form},
            input=raw["input"],
            output=raw["output"],
            labels={"digest": self.blobs.put(labels), "count": len(raw["labels"])},
        )
        description = replace(description, **changes)
        self._model_writer.execute(
            name, model.Register(description), _identity(), _context(), monotonic() + _WAIT_S
        )
        return job.ModelRef(name, "1", str(description.artifact["digest"]))

    def submit(self, model_ref: job.ModelRef, *pictures: bytes, **spec: Any) -> str:
        """Creates a job that is to be executed at once; returns its id."""
        inputs = tuple(
            job.Media(self.blobs.put(picture), "image/png", len(picture), 64, 64) for picture in pictures
        )
        job_id = new_id()
        run = job.RunSpec(model_ref, inputs, {}, spec.get("deadline_s", 60.0), spec.get("max_attempts", 3))
        self.command(job_id, job.Create(run, {}, True))
        return job_id

    def command(self, job_id: str, command: job.Command) -> None:
        self._job_writer.execute(job_id, command, _identity(), _context(), monotonic() + _WAIT_S)

    def wait_for(self, job_id: str, wanted: Callable[[Envelope], bool], timeout_s: float = _WAIT_S) -> Envelope:
        """The first accepted event of the job that is wanted; fails after the timeout."""
        until = monotonic() + timeout_s
        with self._changed:
            while True:
                for event in self._events.get(job_id, []):
                    if wanted(event):
                        return event
                assert self._changed.wait(until - monotonic()), f"not in time; so far: {self.types(job_id)}"

    def end_of(self, job_id: str, timeout_s: float = _WAIT_S) -> Envelope:
        """The event that ended the job's run."""
        ends = {"darkroom.job.execution-succeeded.v1", "darkroom.job.execution-failed.v1"}
        return self.wait_for(job_id, lambda event: event.guard.type in ends, timeout_s)

    def types(self, job_id: str) -> list[str]:
        """The short types of the job's accepted events so far."""
        return [event.guard.type.split(".")[2] for event in self._events.get(job_id, [])]

    def _hear(self, folded: Any) -> None:
        events: list[Folded] = list(folded)
        with self._changed:
            for event in events:
                envelope = read_envelope(event.guard, event.record.value, event.record.headers)
                self._events.setdefault(event.guard.key, []).append(envelope)
            self._changed.notify_all()


def settings_for(kafka: str, name: str, folder: Path) -> Settings:
    """Settings with topics and folders of their own."""
    return replace(
        read_settings(),
        kafka=kafka,
        topic_jobs=f"{name}.jobs",
        topic_models=f"{name}.models",
        topic_heartbeats=f"{name}.heartbeats",
        partitions=4,
        blobs=f"file://{folder}/blobs",
        data=folder / "data",
    )


def _identity() -> job.Identity:
    return job.Identity(new_id(), "test", "default")


def _context() -> Context:
    return Context("/tests", datetime.now(UTC), "tests", new_id(), new_id())
