"""The campaign with faults, in small: APIs, executors and brokers die and freeze; the checker judges each round."""

from contextlib import suppress
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from campaign.faults import KINDS, schedule
from campaign.fleet import Fleet
from campaign.rounds import Campaign

from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.schemas.errors import LogUnavailable

ROUNDS = 3
FAULTS = 5
ELECTED_S = 60.0
"""Brokers are declared dead after six seconds; the rest is for a busy machine."""


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("replicas", "seconds"), [(1, 8.0), (3, 16.0)])
def test_no_answer_is_wrong_whatever_dies(replicas: int, seconds: float, tmp_path: Path) -> None:
    fleet = Fleet(
        tmp_path / "fleet", f"long-{uuid4().hex[:12]}", replicas=replicas, request_deadline_s=3.0, lease_s=2.0
    )
    try:
        campaign = Campaign(fleet)
        try:
            for number in range(ROUNDS):
                seed = f"long-{replicas}.{number}"
                result = campaign.round(seed, seconds=seconds, faults=FAULTS, keep=tmp_path / "found")
                assert not result.violations, "\n".join([result.line(), *map(str, result.violations[:20])])
                assert result.statuses["202"] > 0, result.line()
        finally:
            campaign.close()
    finally:
        fleet.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_dead_leader_is_not_asked_for_ever(tmp_path: Path) -> None:
    """While it stays dead: what it led is asked of the broker that leads now."""
    fleet = Fleet(tmp_path / "fleet", f"leader-{uuid4().hex[:12]}", replicas=3, apis=1, executors=0)
    log = KafkaLog(fleet.settings.kafka, fleet.settings.topic_jobs)
    try:
        ends = [log.end_offset(partition, 10.0) for partition in range(log.partitions)]
        fleet.leader(0).kill()
        until = monotonic() + ELECTED_S
        told: list[int] = []
        while told != ends:
            assert monotonic() < until, "the end of some partition is not told"
            with suppress(LogUnavailable):
                told = [log.end_offset(partition, 2.0) for partition in range(log.partitions)]
    finally:
        log.close(2.0)
        fleet.close()


def test_a_schedule_is_made_from_its_seed_and_harms_one_broker_at_most() -> None:
    schedules = [schedule(f"s{n}", 10.0, FAULTS, replicas=1) for n in range(200)]
    assert schedules == [schedule(f"s{n}", 10.0, FAULTS, replicas=1) for n in range(200)]
    assert {fault.what for faults in schedules for fault in faults} == set(KINDS)
    for faults in schedules:
        assert len(faults) == FAULTS
        assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
        assert sum(fault.what.startswith("broker") for fault in faults) <= 1
