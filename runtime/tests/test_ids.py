"""Ids and position tokens: stable, opaque, and refusing everything that is not one."""

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.runtime.ids import Position, command_id_of, derived_id, job_id_of, new_id, parse_uuid


def test_new_ids_are_uuid7_each_another() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {UUID(i).version for i in ids} == {7}
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)


def test_derived_ids_never_change() -> None:
    """Frozen: the same key must meet the same job for ever."""
    assert job_id_of("default", "key-1") == "589a1e24-5e02-50ff-aa7a-5c641ff75007"
    assert command_id_of("default", "job", "key-1") == "0ffc6da8-7e17-5ad7-a3b3-f01e7acf9c3c"


def test_derived_ids_keep_tenants_resources_and_kinds_apart() -> None:
    ids = {
        job_id_of("a", "k"),
        job_id_of("b", "k"),
        command_id_of("a", "r", "k"),
        command_id_of("a", "s", "k"),
        derived_id("a", "bc"),
        derived_id("ab", "c"),
    }
    assert len(ids) == 6


@pytest.mark.parametrize(
    "text", ["", "x", "urn:uuid:" + "0" * 32, "{" + "0" * 32 + "}", "0" * 32, "../../etc/passwd"]
)
def test_what_is_no_uuid(text: str) -> None:
    assert parse_uuid(text) is None


def test_uuids_have_one_form() -> None:
    assert parse_uuid("0199A3C1-7D2E-7A41-9C58-3F0E6B1D2A77") == "0199a3c1-7d2e-7a41-9c58-3f0e6b1d2a77"


def test_tokens_are_read_back_and_are_safe_in_a_url() -> None:
    position = Position("Zk3-aB_9.x", 7, 10**17)
    assert Position.parse(position.token()) == position
    assert set(position.token()) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "1.2.3.",
        "2.0.0.topic",
        "1.-1.0.topic",
        "1.0.+1.topic",
        "1.0.1_0.topic",
        "1.0.²..topic",
        "1.0.٣.topic",
        f"1.0.{2**63}.topic",
        "1.0." + "9" * 5000 + ".topic",
        "1.0.0.to\npic",
    ],
)
def test_forged_tokens_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position token"):
        Position.parse(token(text))


@given(st.text(max_size=30))
def test_any_other_text_is_refused_or_a_position_that_a_database_holds(text: str) -> None:
    for candidate in (text, token(text) if text.isascii() else text):
        try:
            position = Position.parse(candidate)
        except ValueError:
            continue
        assert 0 <= position.offset < 2**63
