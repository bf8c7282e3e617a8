"""One append under way: done once, by acknowledgement and verdict in either order, or by the first failure."""

from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

import pytest

from darkroom.runtime.eventlog.port import Ack
from darkroom.runtime.pending import Pending
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.errors import LogUnavailable, TailBehind

ACK = Ack(1, 7)
VERDICT = Verdict(1, 7, "e", True, "outcome")
TIMEOUT_S = 10.0


def answered(ack: Ack | Exception) -> "Future[Ack]":
    future: Future[Ack] = Future()
    if isinstance(ack, Exception):
        future.set_exception(ack)
    else:
        future.set_result(ack)
    return future


def wait(pending: Pending, timeout_s: float = TIMEOUT_S) -> tuple[Ack, Verdict | None]:
    return pending.wait(monotonic() + timeout_s)


@pytest.mark.parametrize("verdict_first", [True, False])
def test_both_are_waited_for(verdict_first: bool) -> None:
    pending = Pending()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(wait, pending)
        if verdict_first:
            pending.judged(VERDICT)
        else:
            pending.acknowledged(answered(ACK))
        with pytest.raises((LogUnavailable, TailBehind)):  # one of them is not enough
            wait(pending, 0.02)
        assert not waiting.done()
        if verdict_first:
            pending.acknowledged(answered(ACK))
        else:
            pending.judged(VERDICT)
        assert waiting.result(TIMEOUT_S) == (ACK, VERDICT)


def test_an_acknowledgement_without_an_offset_waits_for_no_verdict() -> None:
    pending = Pending()
    pending.acknowledged(answered(Ack(1, None)))
    assert wait(pending) == (Ack(1, None), None)
    pending.judged(VERDICT)
    assert pending.verdict == VERDICT


def test_only_the_first_record_under_an_id_counts() -> None:
    pending = Pending()
    pending.judged(VERDICT)
    pending.judged(Verdict(1, 8, "e", False))
    pending.acknowledged(answered(Ack(1, 8)))
    assert wait(pending) == (Ack(1, 8), VERDICT)


def test_a_failure_ends_the_wait_at_once_and_the_first_one_is_told() -> None:
    pending = Pending()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(wait, pending)
        pending.acknowledged(answered(LogUnavailable("no broker")))
        with pytest.raises(LogUnavailable, match="no broker"):
            waiting.result(TIMEOUT_S)
    pending.fail(TailBehind("later"))
    with pytest.raises(LogUnavailable, match="no broker"):
        wait(pending, 0)


def test_what_is_late_is_named() -> None:
    pending = Pending()
    with pytest.raises(LogUnavailable, match="did not acknowledge"):
        wait(pending, 0.01)
    pending.acknowledged(answered(ACK))
    with pytest.raises(TailBehind, match="verdict"):
        wait(pending, 0.01)
