"""The verdict rule is arithmetic over the guard fields; the partition rule is that of librdkafka."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.schemas import job
from darkroom.schemas.chain import Guard, accepts, partition_of, short_type
from darkroom.schemas.eventdata import SCHEMAS
from darkroom.schemas.testing import CREATED, STARTED, guard_for


def test_an_event_counts_only_if_both_fields_continue_the_chain() -> None:
    second = guard_for(STARTED, 2, "e1")
    assert accepts(1, "e1", second)
    assert not accepts(1, "other", second)
    assert not accepts(0, "", second)
    assert not accepts(2, "e1", second)
    assert not accepts(1, "e1", second._replace(version=3))


def test_a_chain_begins_with_an_opening_event_and_no_other() -> None:
    assert accepts(0, "", guard_for(CREATED, 1, ""))
    assert not accepts(0, "", guard_for(STARTED, 1, ""))
    assert not accepts(0, "", guard_for(CREATED, 1, "e0"))
    assert accepts(0, "", guard_for(CREATED, 1, "")._replace(type="darkroom.model.registered.v1"))
    assert accepts(0, "", guard_for(CREATED, 1, "")._replace(type="darkroom.job.created.v9"))


@given(st.integers(0, 9), st.text(max_size=3), st.integers(0, 9), st.text(max_size=3))
def test_at_most_one_version_and_predecessor_is_accepted(
    version: int, last: str, claimed: int, previous: str
) -> None:
    guard = guard_for(STARTED, 2, "")._replace(version=claimed, prev_id=previous)
    assert accepts(version, last, guard) == (version > 0 and claimed == version + 1 and previous == last)


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        ("123456789", 0xCBF43926 % 8),  # the check value of CRC-32
        ("0199a3c1-7d2e-7a41-9c58-3f0e6b1d2a77", 4),
        ("shapes-classifier", 4),
        ("größe", 1),
    ],
)
def test_the_partition_of_a_key_never_changes(key: str, partition: int) -> None:
    assert partition_of(key, 8) == partition


def test_short_types() -> None:
    assert short_type("darkroom.job.execution-started.v1") == "execution-started"
    assert short_type("nonsense") == "nonsense"


KINDS = st.sampled_from([*(t for t in SCHEMAS), "darkroom.job.created.v2", "darkroom.job.teleported.v1", "", "x"])


@given(st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_evolve_takes_any_accepted_event_and_a_deleted_job_stays_deleted(past: list[tuple[str, int, int]]) -> None:
    head: job.Head | None = None
    for offset, (kind, run, attempt) in enumerate(past):
        before = head
        guard = Guard("k", f"e{offset}", kind, offset + 1, f"e{offset - 1}", "c", "h", "t", run, attempt)
        head = job.evolve(head, guard, offset)
        assert (head.version, head.last_event_id, head.last_offset) == (offset + 1, f"e{offset}", offset)
        if before is not None:
            assert (head.origin_offset, head.tenant) == (before.origin_offset, before.tenant)
            assert before.status is not job.Status.DELETED or head.status is job.Status.DELETED
