"""The catalogue: every command on an unknown, registered and retired version."""

from dataclasses import replace

import pytest

from darkroom.schemas import eventdata, model
from darkroom.schemas.chain import Guard, accepts
from darkroom.schemas.job import Identity, Refusal, Why
from darkroom.schemas.testing import DIGEST

ONE = model.Description(
    "cats", "1", "classification", "litert", {"type": "upload"}, {"digest": DIGEST}, {}, {}, {"digest": DIGEST}
)
TWO = replace(ONE, version="2")
ME = Identity("command", "hash", "default")


def after(*events: model.ModelEvent | None) -> model.ModelHead:
    """The head after events (None: one whose body cannot be read), at offsets 10, 11, …"""
    head = model.ModelHead()
    for number, event in enumerate(events, 1):
        kind = eventdata.type_of(event) if event else "darkroom.model.registered.v1"
        guard = Guard("cats", f"e{number}", kind, number, head.last_event_id, f"c{number}", "hash", "default")
        assert accepts(head.version, head.last_event_id, guard)
        head = model.evolve(head, guard, event, 9 + number)
    return head


def test_registering() -> None:
    assert model.decide(after(), model.Register(ONE), ME) == model.Registered(ONE)
    registered = after(model.Registered(ONE))
    assert model.decide(registered, model.Register(TWO), ME) == model.Registered(TWO)
    assert model.decide(registered, model.Register(ONE), ME) == model.AlreadySo(10, 1)


def test_a_version_is_immutable() -> None:
    other = replace(ME, request_hash="other")
    for head in (after(model.Registered(ONE)), after(model.Registered(ONE), model.Retired("cats", "1"))):
        refusal = model.decide(head, model.Register(ONE), other)
        assert isinstance(refusal, Refusal)
        assert refusal.why is Why.KEY_REUSED


@pytest.mark.parametrize(
    ("past", "command", "why"),
    [
        ((), model.Retire("cats", "1"), Why.UNKNOWN),
        ((model.Registered(TWO),), model.Retire("cats", "1"), Why.UNKNOWN),
        ((model.Registered(ONE), model.Retired("cats", "1")), model.Retire("cats", "1"), Why.DELETED),
        ((model.Registered(ONE), model.Retired("cats", "1")), model.Register(ONE), Why.DELETED),
    ],
)
def test_refusals(past: tuple[model.ModelEvent, ...], command: model.ModelCommand, why: Why) -> None:
    refusal = model.decide(after(*past), command, ME)
    assert isinstance(refusal, Refusal)
    assert refusal.why is why
    assert "cats" in refusal.detail


def test_retiring_repeated_under_its_key_is_told_the_first_outcome() -> None:
    head = after(model.Registered(ONE), model.Retired("cats", "1"))
    keyed = Identity("c2", "hash", "default", keyed=True)
    assert model.decide(head, model.Retire("cats", "1"), keyed) == model.AlreadySo(11, 2)
    assert isinstance(model.decide(head, model.Retire("cats", "1"), replace(keyed, command_id="c3")), Refusal)


def test_the_newest_version_is_the_one_registered_last_that_is_not_retired() -> None:
    assert after().newest() is None
    both = after(model.Registered(TWO), model.Registered(ONE))
    assert both.newest() == both.entries["1"]
    retired = after(model.Registered(TWO), model.Registered(ONE), model.Retired("cats", "1"))
    assert retired.newest() == retired.entries["2"]
    assert retired.entries["1"].retired


def test_a_body_that_cannot_be_read_moves_the_chain_and_nothing_else() -> None:
    head = after(model.Registered(ONE), None, model.Retired("cats", "unknown"))
    assert (head.version, head.last_event_id, head.last_offset) == (3, "e3", 12)
    assert list(head.entries) == ["1"]
    assert not head.entries["1"].retired


def test_folding_leaves_the_earlier_head_as_it_was() -> None:
    before = after(model.Registered(ONE))
    model.evolve(
        before,
        Guard("cats", "e", "darkroom.model.retired.v1", 2, "e1", "c", "h", "default"),
        model.Retired("cats", "1"),
        11,
    )
    assert not before.entries["1"].retired
