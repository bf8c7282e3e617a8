"""One run, from the queue to its end in the log.

1. read what was requested, from the log; find the model; fetch model files and inputs (nothing is claimed yet);
2. append `execution-started`: only the executor whose event is accepted goes on;
3. run the model in a child process, killed at the deadline, at a cancel, or at the end of this executor;
4. append the end of the run, or of the attempt. A result that comes too late is void, and is discarded.

Crash points: before 2 the run is still queued. Between 2 and 4 the attempt's lease runs out and the run is tried
again: compute is at least once. After 4 the effect is in the log, once.
"""

import logging
import threading
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

import orjson
from prometheus_client import Counter, Histogram

from darkroom.executor.childprocess import ChildProcess
from darkroom.executor.leases import AttemptKey
from darkroom.executor.models import LocalModel, ModelFiles
from darkroom.executor.outcomes import (
    Crashed,
    DeadlineExceeded,
    ModelRefused,
    Outcome,
    Picture,
    RunRequest,
    Stopped,
    Succeeded,
)
from darkroom.executor.pool import ChildPool, PoolBusy
from darkroom.executor.problems import ModelError, deadline_exceeded, model_crashed
from darkroom.runtime.blobs import BlobMissing, BlobStore
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.ids import new_id
from darkroom.runtime.protocol import Accepted
from darkroom.runtime.writer import JobWriter
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import LogUnavailable, Refused, StoreUnavailable, TailBehind, Unavailable, Undecodable
from darkroom.schemas.job import BlobRef, Head, Identity, Problem, RunSpec
from darkroom.schemas.wire import Context, Envelope, read_envelope, read_guard

_log = logging.getLogger("darkroom.executor")
_ends = Counter("darkroom_executor_ends", "Attempts by how they ended", ["end"])
_seconds = Histogram("darkroom_executor_run_seconds", "Time in the child process", ["model"])

RESULTS_SIZE_BYTES_MAX = 64 * 1024
"""Larger results go to the blob store, and the event carries their digest."""

INPUTS_SIZE_BYTES_MAX = 480 * 2**20
"""In sum, for one run: what one message to a child may hold. The door's own limit is lower."""

_LOG_TIMEOUT_S = 5.0
_APPEND_TIMEOUT_S = 30.0
_LAST_APPENDS_TIMEOUT_S = 2.0
_RETRY_S = 0.5
_CHILD_WAIT_S = 0.1
_RECENT_RECORDS_MAX = 1_000


@dataclass(slots=True)
class Claim:
    """What an executor has of a run: `stop` is set when the log ends it; `attempt` is 0 until its own start was
    accepted."""

    stop: threading.Event = field(default_factory=threading.Event)
    attempt: int = 0


class Runner:
    """Everything one run needs; its methods are called from several threads."""

    def __init__(
        self,
        log: EventLog,
        writer: JobWriter,
        blobs: BlobStore,
        models: ModelFiles,
        children: ChildPool,
        *,
        executor: str,
        lease_s: float,
    ) -> None:
        self._eventlog = log
        self._writer = writer
        self._blobs = blobs
        self._models = models
        self._children = children
        self._executor = executor
        self._lease_s = lease_s
        self._append_timeout_s = _APPEND_TIMEOUT_S
        self._pause = threading.Event()  # never set: to wait between tries
        self._recent: OrderedDict[tuple[int, int], Record] = OrderedDict()
        self._recent_lock = threading.Lock()

    def remember(self, record: Record) -> None:
        """Keeps a record that was just folded, so that it need not be read from the log again."""
        with self._recent_lock:
            self._recent[(record.partition, record.offset)] = record
            while len(self._recent) > _RECENT_RECORDS_MAX:
                self._recent.popitem(last=False)

    def run(self, job_id: str, head: Head, partition: int, claim: Claim) -> None:
        """Takes a queued run to its end. Raises Unavailable where it could not even be begun."""
        try:
            request = self._read(partition, head.request_offset)
            spec = _spec_of(request)
        except Undecodable as error:
            problem = Problem("urn:darkroom:problem:request-unreadable", "The request cannot be read", str(error))
            self._append(job_id, head, job.Fail(head.run, 0, problem), _context_without_request(self._executor))
            return
        with ExitStack() as held:  # the model's files, and the child, are ours until the run is over
            try:
                model = held.enter_context(self._models.hold(spec.model))
                child = self._free_child(job_id, model, claim, held)
                prepared = self._prepare(job_id, spec, model)
            except ModelError as error:
                prepared = error.problem
            if isinstance(prepared, Problem):
                self._append(job_id, head, job.Fail(head.run, 0, prepared), self._context(request))
                _ends.labels("failed").inc()
                return
            self._claim_and_run(job_id, head, request, spec, prepared, child, claim)

    def _free_child(self, job_id: str, model: LocalModel, claim: Claim, held: ExitStack) -> ChildProcess:
        """A child for the model, before anything is claimed: a run that has to wait for one is still queued."""
        try:
            child = held.enter_context(
                self._children.reserve(str(model.description["runtime"]), job_id, _CHILD_WAIT_S, claim.stop)
            )
        except PoolBusy as error:
            raise Unavailable(str(error)) from None
        if child is None:
            raise Unavailable("the run was stopped before it began")
        return child

    def _claim_and_run(
        self,
        job_id: str,
        head: Head,
        request: Envelope,
        spec: RunSpec,
        prepared: RunRequest,
        child: ChildProcess,
        claim: Claim,
    ) -> None:
        accepted = self._append(
            job_id, head, job.Start(head.run, self._executor, self._lease_s), self._context(request)
        )
        started = self._writer.heads.get(job_id)
        if accepted is None or started is None or started.version != accepted.outcome.version:
            return  # somebody else's run, or cancelled or deleted in the meantime
        claim.attempt = started.attempt
        began = monotonic()
        outcome = child.run(prepared, spec.deadline_s)
        _seconds.labels(spec.model.name).observe(monotonic() - began)
        context = self._context(request, causation_id=started.last_event_id)
        end = self._end(started, spec, outcome, claim.stop)
        if end is not None:
            self._append(job_id, started, end, context)
        _ends.labels(type(outcome).__name__.lower()).inc()

    def stop(self, job_id: str) -> None:
        """Ends the model of this job, if it is running here."""
        self._children.stop(job_id)

    def expire(self, key: AttemptKey, head: Head) -> None:
        """Ends an attempt that has shown no sign of life for its lease."""
        request = self._read(partition_of(key.job_id, self._eventlog.partitions), head.request_offset)
        spec = _spec_of(request)
        reason = Problem(
            "urn:darkroom:problem:executor-lost",
            "The executor was lost",
            f"Attempt {key.attempt} of run {key.run} has shown no sign of life for longer than its lease.",
        )
        command = job.EndAttempt(key.run, key.attempt, reason, spec.max_attempts)
        self._append(key.job_id, head, command, self._context(request, causation_id=head.last_event_id))
        _ends.labels("expired").inc()

    def close(self) -> None:
        """Stops all models; what is still to be appended gets a short while only."""
        self._append_timeout_s = _LAST_APPENDS_TIMEOUT_S
        self._children.close()

    # ------------------------------------------------------------------ steps

    def _read(self, partition: int, offset: int) -> Envelope:
        with self._recent_lock:
            record = self._recent.get((partition, offset))
        if record is None:
            record = self._eventlog.read_one(partition, offset, _LOG_TIMEOUT_S)
        return read_envelope(read_guard(record.key, record.headers), record.value, record.headers)

    def _prepare(self, job_id: str, spec: RunSpec, model: LocalModel) -> RunRequest | Problem:
        """What the child needs, or why the run can never work. Raises StoreUnavailable to be asked again later."""
        size_bytes = sum(item.size_bytes for item in spec.inputs)
        if size_bytes > INPUTS_SIZE_BYTES_MAX:
            return Problem(
                "urn:darkroom:problem:picture-too-large",
                "The pictures of this run are too large together",
                f"{size_bytes} bytes; at most {INPUTS_SIZE_BYTES_MAX} are possible.",
            )
        try:
            contents = {item.digest: self._blobs.get(item.digest) for item in spec.inputs}
        except BlobMissing as error:
            return Problem(
                "urn:darkroom:problem:media-missing",
                "A file of this run is no longer in the blob store",
                str(error),
            )
        return RunRequest(
            job_id,
            model.description,
            model.artifact_path,
            model.labels_path,
            tuple(Picture(item.digest, contents[item.digest]) for item in spec.inputs),
            spec.parameters,
        )

    def _end(self, head: Head, spec: RunSpec, outcome: Outcome, stop: threading.Event) -> job.Command | None:
        """The command that ends the attempt; None where the log has ended it already."""
        run, attempt = head.run, head.attempt
        match outcome:
            case Succeeded(results=results, timing=timing, provenance=provenance):
                body = orjson.dumps(results)
                provenance = {**provenance, "executor": self._executor}
                if len(body) <= RESULTS_SIZE_BYTES_MAX:
                    return job.Succeed(run, attempt, tuple(results), None, timing, provenance)
                blob = BlobRef(self._keep(body), len(body))
                return job.Succeed(run, attempt, (), blob, timing, provenance)
            case ModelRefused(problem=problem):
                if problem.type.endswith("digest-mismatch"):
                    self._models.discard(spec.model)
                return job.Fail(run, attempt, problem)
            case DeadlineExceeded(deadline_s=deadline_s):
                return job.Fail(run, attempt, deadline_exceeded(deadline_s))
            case Crashed(detail=detail):
                return job.EndAttempt(run, attempt, model_crashed(detail), spec.max_attempts)
            case Stopped():
                if stop.is_set():
                    return None
                reason = Problem(
                    "urn:darkroom:problem:executor-stopped",
                    "The executor was stopped",
                    f"Executor {self._executor} was asked to stop before the run had ended.",
                )
                # Handed back: a stop of ours may cost the run an attempt, but never the run.
                return job.EndAttempt(run, attempt, reason, max(spec.max_attempts, attempt + 1))

    def _keep(self, body: bytes) -> str:
        """Puts results into the blob store, trying again while it is away. Raises StoreUnavailable."""
        began = monotonic()
        while True:
            try:
                return self._blobs.put(body)
            except StoreUnavailable:
                if monotonic() - began > self._append_timeout_s:
                    raise
                self._pause.wait(_RETRY_S)

    def _append(self, job_id: str, head: Head, command: job.Command, context: Context) -> Accepted | None:
        """Appends, trying again while the log is away. None: the log says that it is no longer ours to do."""
        identity = Identity(new_id(), "", head.tenant)
        began = monotonic()
        while True:
            try:
                return self._writer.execute(job_id, command, identity, context, monotonic() + _LOG_TIMEOUT_S)
            except Refused as refused:
                _log.info("job %s: %s", job_id, refused)
                return None
            except (LogUnavailable, TailBehind):
                if monotonic() - began > self._append_timeout_s:
                    raise
                self._pause.wait(_RETRY_S)

    def _context(self, request: Envelope, causation_id: str | None = None) -> Context:
        return Context(
            source=f"urn:darkroom:executor:{self._executor}",
            time=datetime.now(UTC),
            actor=f"executor:{self._executor}",
            correlation_id=str(request.attributes.get("correlationid") or request.guard.key),
            causation_id=causation_id or request.guard.event_id,
            traceparent=request.attributes.get("traceparent"),
        )


def _spec_of(request: Envelope) -> RunSpec:
    requested = job.requested_run(request.event)
    if requested is None:
        raise Undecodable(f"{request.guard.type} does not request a run")
    return requested[1]


def _context_without_request(executor: str) -> Context:
    return Context(f"urn:darkroom:executor:{executor}", datetime.now(UTC), f"executor:{executor}", "-", "-")
