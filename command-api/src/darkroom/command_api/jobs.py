"""Commands on jobs: from parsed requests to accepted events. Knows no Flask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from darkroom.command_api.caller import Caller
from darkroom.command_api.endings import Endings
from darkroom.command_api.pictures import Given, check_sizes, take
from darkroom.command_api.pinning import pin
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.media import MediaDoor
from darkroom.runtime.protocol import Accepted
from darkroom.runtime.writer import JobWriter, ModelWriter
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import LogUnavailable, Refused, Unavailable, Undecodable
from darkroom.schemas.wire import read_envelope, read_guard

_NEVER_USED = job.RunSpec(job.ModelRef("", "", ""), (), {}, 0.0, 0)
"""Stands in for the spec of a create whose job exists already: `decide` looks at the request hash alone then, and a
job that exists never ceases to."""


@dataclass(frozen=True, slots=True)
class JobCommands:
    """What clients may do with jobs. Every method raises Refused, ProblemError, LogUnavailable, TailBehind or
    StoreUnavailable, and answers within `deadline_s` of being called, and the time that its pictures take."""

    log: EventLog
    writer: JobWriter
    models: ModelWriter
    media: MediaDoor
    deadline_s: float
    max_attempts: int
    inputs_size_bytes_max: int
    endings: Endings

    def create(
        self, job_id: str, body: Mapping[str, Any], inputs: Sequence[Given], caller: Caller, *, known_id: bool
    ) -> Accepted:
        """Creates a job. `known_id`: the client chose the id or gave a key, so this may be a repetition, which gets
        its first answer even if the model or a picture is gone by now."""
        deadline = monotonic() + self.deadline_s
        said = {**body, "inputs": [item.digest for item in inputs]}
        identity = caller.identity("create", job_id, said)
        try:
            model = pin(self.models, body["model"], deadline)
            began = monotonic()
            try:
                media = take(self.media, inputs, self.inputs_size_bytes_max)
            finally:
                deadline += monotonic() - began
            spec = job.RunSpec(
                model=model,
                inputs=media,
                parameters=body["parameters"],
                deadline_s=body["deadline_s"],
                max_attempts=self.max_attempts,
            )
        except ProblemError:
            if not known_id or self.writer.known(job_id, identity.command_id, deadline)[0] is None:
                raise
            spec = _NEVER_USED
        command = job.Create(spec, body["labels"], body["execute"])
        return self._execute(job_id, command, identity, caller, deadline, new_job=not known_id)

    def run(self, job_id: str, body: Mapping[str, Any], caller: Caller) -> Accepted:
        """Executes a job again; what `body` leaves out stays as the job was created."""
        deadline = monotonic() + self.deadline_s
        head = self.writer.head(job_id, deadline)
        if head is None or head.tenant != caller.tenant:
            raise Refused(job.Refusal(job.Why.UNKNOWN, "There is no such job."))
        created = self._created(job_id, head.origin_offset, deadline)
        identity = caller.identity("run", job_id, dict(body))
        first = created.spec
        try:
            reference = body.get("model") or f"{first.model.name}@{first.model.version}"
            model = pin(self.models, reference, deadline)
            check_sizes(first.inputs, self.inputs_size_bytes_max)  # the limit may have been higher at the creation
        except ProblemError:
            head, seen = self.writer.known(job_id, identity.command_id, deadline)
            if seen is None and (head is None or head.status is not job.Status.DELETED):
                raise
            model = first.model  # a repetition, or a deleted job: its answer does not depend on the spec
        spec = job.RunSpec(
            model=model,
            inputs=first.inputs,
            parameters=body.get("parameters", first.parameters),
            deadline_s=body.get("deadline_s", first.deadline_s),
            max_attempts=self.max_attempts,
        )
        return self._execute(job_id, job.RequestRun(spec), identity, caller, deadline)

    def cancel(self, job_id: str, caller: Caller) -> Accepted:
        """Cancels what is queued or running."""
        identity = caller.identity("cancel", job_id, {})
        return self._execute(job_id, job.Cancel(), identity, caller, monotonic() + self.deadline_s)

    def delete(self, job_id: str, caller: Caller) -> Accepted:
        """Deletes a job, and cancels a run under way."""
        identity = caller.identity("delete", job_id, {})
        return self._execute(job_id, job.Delete(), identity, caller, monotonic() + self.deadline_s)

    def wait(self, job_id: str, accepted: Accepted, wait_s: int) -> job.Head | None:
        """Where the job stands once the run that a command has asked for is over; None if it asked for none, or if
        that run has not ended within `wait_s`."""
        run = accepted.outcome.run
        if not wait_s or not run:
            return None
        try:
            return self.endings.wait(job_id, run, self.writer.heads.get, wait_s)
        except Unavailable:
            return None  # the command has taken effect, whatever has happened to the heads since

    def _execute(
        self,
        job_id: str,
        command: job.Command,
        identity: job.Identity,
        caller: Caller,
        deadline: float,
        *,
        new_job: bool = False,
    ) -> Accepted:
        context = caller.context(job_id, identity.command_id)
        return self.writer.execute(
            job_id, command, identity, context, deadline, new_command=not identity.keyed, new_job=new_job
        )

    def _created(self, job_id: str, offset: int, deadline: float) -> job.Created:
        """What the job was created with, read from its first event."""
        record = self.log.read_one(
            partition_of(job_id, self.log.partitions), offset, max(0.01, deadline - monotonic())
        )
        try:
            event = read_envelope(read_guard(record.key, record.headers), record.value, record.headers).event
        except Undecodable as error:
            raise LogUnavailable(f"the job's first event cannot be read: {error}") from None
        if not isinstance(event, job.Created):
            raise LogUnavailable("the job's first event is of a type that this version does not know")
        return event
