"""One append under way: its thread sleeps until acknowledgement and verdict are both there, in either order.

In a third of the cases the tail has passed the event before its acknowledgement is handled. One wake-up instead of
two: each costs a switch of threads, and with it the interpreter's lock.
"""

from concurrent.futures import Future
from threading import Lock
from time import monotonic

from darkroom.runtime import failpoints, metrics
from darkroom.runtime.eventlog.port import Ack
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.errors import LogUnavailable, TailBehind


class Pending:
    """Told by the producer's thread and by the tail's; waited for by one other."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self._ack: Ack | None = None
        self._error: BaseException | None = None
        self._guard = Lock()
        self._over = False
        self._done = Lock()
        self._done.acquire()
        self._begun = monotonic()
        self._acknowledged = self._judged = 0.0

    def acknowledged(self, future: "Future[Ack]") -> None:
        """The log has answered: what the future of `EventLog.append` holds."""
        error = future.exception()
        if error is not None:
            self.fail(error)
            return
        failpoints.reach("writer-after-ack")
        with self._guard:
            self._ack = future.result()
            self._acknowledged = monotonic()
            self._maybe_done()

    def judged(self, verdict: Verdict) -> None:
        """The own tail has passed the event. Only the first record under its id counts."""
        with self._guard:
            if self.verdict is None:
                self.verdict = verdict
                self._judged = monotonic()
            self._maybe_done()

    def fail(self, error: BaseException) -> None:
        """The append, or its verdict, will never come."""
        with self._guard:
            self._error = self._error or error
            self._end()

    def wait(self, deadline: float) -> tuple[Ack, Verdict | None]:
        """Acknowledgement and verdict; the latter may be None only where the acknowledgement has no offset.
        `deadline` is on the monotonic clock. Raises LogUnavailable, TailBehind."""
        self._done.acquire(timeout=max(0.0, deadline - monotonic()))
        with self._guard:
            if self._error is not None:
                raise self._error
            if self._ack is None:
                raise LogUnavailable("the broker did not acknowledge the event within the deadline")
            metrics.ACKNOWLEDGEMENT.observe(self._acknowledged - self._begun)
            if self.verdict is None and self._ack.offset is not None:
                raise TailBehind("the tail has not told its verdict in time")
            if self.verdict is not None:
                metrics.VERDICT_WAIT.observe(max(0.0, self._judged - self._acknowledged))
            return self._ack, self.verdict

    def _maybe_done(self) -> None:
        if self._ack is not None and (self.verdict is not None or self._ack.offset is None):
            self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._done.release()
