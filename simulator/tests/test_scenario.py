"""The stream of actions: the same for a seed, and right about what it expects."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.simulator import pictures
from darkroom.simulator.scenario import (
    ACCEPTED,
    FORBIDDEN,
    GONE,
    IF_ACTIVE,
    REFUSED_WITH,
    Action,
    BadCreate,
    Cancel,
    Create,
    Delete,
    Fault,
    Mix,
    Repeat,
    RunAgain,
    Way,
    actions,
)

MODELS = ("shapes-classifier", "shapes-detector")
EVEN = Mix()
seeds = st.integers(min_value=0, max_value=2**32)


def stream(seed: int, count: int = 300, session: str = "s", mix: Mix = EVEN) -> Sequence[Action]:
    return list(islice(actions(seed, session, MODELS, 10, mix), count))


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_stream(seed: int) -> None:
    assert [asdict(a) for a in stream(seed)] == [asdict(a) for a in stream(seed)]


def test_another_seed_or_session_gives_another_stream() -> None:
    assert stream(1) != stream(2)
    assert stream(1, session="a") != stream(1, session="b")


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_every_action_is_about_an_earlier_job_and_expects_what_its_past_allows(seed: int) -> None:
    run_asked: dict[int, bool] = {}
    by_id: set[int] = set()
    deleted: set[int] = set()
    for position, action in enumerate(stream(seed)):
        assert action.number == position
        if isinstance(action, Create):
            run_asked[action.number] = action.execute
            if action.job_id:
                by_id.add(action.number)
            continue
        if isinstance(action, BadCreate):
            assert (*action.expected, action.problem) == REFUSED_WITH[action.fault]
            continue
        assert action.target in run_asked
        gone = action.target in deleted
        match action:
            case Repeat(target=target, expected=expected):
                assert expected == (GONE if gone and target in by_id else ACCEPTED)
            case Delete(target=target, expected=expected):
                assert expected == (GONE if gone else ACCEPTED)
                deleted.add(target)
            case Cancel(target=target, expected=expected):
                assert expected == (GONE if gone else IF_ACTIVE if run_asked[target] else FORBIDDEN)
            case RunAgain(target=target, expected=expected):
                assert expected == (GONE if gone else IF_ACTIVE if run_asked[target] else ACCEPTED)
                run_asked[target] = run_asked[target] or not gone


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_a_form_never_says_what_only_json_can(seed: int) -> None:
    for action in stream(seed):
        if isinstance(action, Create) and action.way is Way.MULTIPART:
            assert action.execute
            assert action.job_id is None


def test_a_long_stream_holds_every_kind_way_fault_and_model() -> None:
    seen = stream(7, 3000)
    assert {type(a) for a in seen} == {Create, BadCreate, Repeat, RunAgain, Cancel, Delete}
    creates = [a for a in seen if isinstance(a, Create)]
    assert {a.way for a in creates} == set(Way)
    assert {a.fault for a in seen if isinstance(a, BadCreate)} == set(Fault)
    assert {a.model for a in creates} == set(MODELS)
    assert {len(a.pictures) for a in creates} == {1, 2, 3, 4}
    assert {a.execute for a in creates} == {True, False}
    keys = [a.key for a in seen if not isinstance(a, Repeat)]
    assert len(keys) == len(set(keys))


def test_weights_are_followed() -> None:
    only_creates = stream(3, mix=Mix(bad=0, repeat=0, run_again=0, cancel=0, delete=0))
    assert {type(a) for a in only_creates} == {Create}


@pytest.mark.parametrize("weights", [{"create": 0.0}, {"bad": -1.0}])
def test_weights_that_make_no_sense_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Mix(**weights)


def test_the_same_seed_draws_the_same_pictures() -> None:
    assert pictures.pool(5) == pictures.pool(5)
    assert pictures.pool(5) != pictures.pool(6)
