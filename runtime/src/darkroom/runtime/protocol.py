"""Compare-and-append by fold, as a pure generator: which steps a writer takes, and when it may answer.

1. decide on the head that the own tail has folded; a refusal, or an answer that what came since may have changed,
   is decided again behind a barrier;
2. append the event, stating which event it continues;
3. wait for the broker's acknowledgement and for the own tail to pass the event;
4. accepted: the outcome is what the fold says. Void: something else came first, so decide again.

The generator does no I/O and knows no time: it yields a step, and is sent what came of it. `writer.py` takes the
steps against a real log and a tail; the model check takes them in every order that real machines could.

Crash points: before 2 nothing happened; between 2 and 4 the event may count although nobody was told, and the
same command id meets its outcome when the command is repeated.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from darkroom.schemas.chain import Guard
from darkroom.schemas.errors import Refused
from darkroom.schemas.job import Refusal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the own fold said of one record. `outcome` is fold-specific, and None for a void event."""

    partition: int
    offset: int
    event_id: str
    accepted: bool
    outcome: Any = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted command: where its event stands, and what the fold says of it. `repeated`: it had taken
    effect before."""

    topic_id: str
    partition: int
    offset: int
    outcome: Any
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Step: let the tail pass everything that the log holds at this moment (the barrier). Nothing is sent back."""


@dataclass(frozen=True, slots=True)
class Append:
    """Step: append this event. Sent back: the own fold's verdict on it, once the log has acknowledged it, or None
    where only another decision can tell."""

    guard: Guard
    event: Any


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Accepted, unless something came first that the own tail has not folded yet."""

    accepted: Accepted


Step = CatchUp | Append
Steps = Generator[Step, Verdict | None, Accepted]
Decision = Append | Accepted | Unconfirmed | Refusal
Decide = Callable[[], Decision]


def settle(topic_id: str, decide: Decide) -> Steps:
    """Lets one command take effect in a topic, once. `decide` is called until its result can be answered.

    Returns what was accepted; raises Refused. It goes on for as long as its events lose: whoever takes the steps
    sets the deadline.
    """
    confirmed = False
    while True:
        decision = decide()
        if isinstance(decision, Accepted):
            return decision
        if isinstance(decision, Refusal | Unconfirmed):
            if confirmed:
                if isinstance(decision, Refusal):
                    raise Refused(decision)
                return decision.accepted
            yield CatchUp()
            confirmed = True
            continue
        verdict = yield decision
        if verdict is not None and verdict.accepted:
            return Accepted(topic_id, verdict.partition, verdict.offset, verdict.outcome)
        confirmed = False
