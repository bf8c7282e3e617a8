"""The model check of compare-and-append by fold: ten thousand schedules hold, and every planted fault is found."""

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from darkroom.runtime.modelcheck import __main__ as command
from darkroom.runtime.modelcheck.campaign import run_all, run_chunk
from darkroom.runtime.modelcheck.faults import FAULTS, planted
from darkroom.runtime.modelcheck.machine import simulated
from darkroom.runtime.modelcheck.reference import Violation
from darkroom.runtime.modelcheck.temper import Kind
from darkroom.runtime.modelcheck.world import run_schedule

SCHEDULES = 10_000
SCHEDULES_LONG = 200_000
ANSWERS = ["202", "repeated", "503", "no answer", "unknown", "state", "deleted", "version", "key-reused"]
FAULTS_OF_THE_WORLD = ["void", "duplicate", "stray", "crash", "cut", "tail stopped"]
"""What has to happen in a run of schedules for it to say anything: answers, refusals and faults of every sort."""
CALM = Kind(cuts=0, files=0)
CUT = Kind(cuts=1, files=0, rough=1)
KEPT = Kind(cuts=0, files=1)
CUT_AND_KEPT = Kind(cuts=1, files=1, restless=1)
FORGETFUL = Kind(cuts=0, files=0, small_windows=1)
FORGED = Kind(cuts=0, files=0, strays=1, forged=1)


def hold(first: int, schedules: int) -> None:
    counts = Counter[str]()
    for chunk in run_all(first, schedules):
        assert not chunk.failures, "\n".join(chunk.failures)
        counts += chunk.counts
    rare = {name: counts[name] for name in ANSWERS + FAULTS_OF_THE_WORLD if counts[name] < schedules // 100}
    assert not rare, f"these hardly happened: {rare}"
    assert counts["after the window"], "no command was repeated after the window"


@pytest.mark.timeout(900)
def test_ten_thousand_schedules_hold() -> None:
    hold(0, SCHEDULES)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_two_hundred_thousand_schedules_hold() -> None:
    hold(SCHEDULES, SCHEDULES_LONG)


@pytest.mark.parametrize(
    ("kind", "happens"),
    [(CUT, ["cut", "tail stopped"]), (CUT_AND_KEPT, ["cut", "crash", "new leader"]), (FORGED, ["stray"])],
    ids=["a log cut again and again", "kept heads over a cut log", "events under ids of others"],
)
def test_the_worst_kinds_of_schedules_hold(kind: Kind, happens: list[str]) -> None:
    chunk = run_chunk(0, 150, kind)
    assert chunk.failures == []
    assert all(chunk.counts[name] >= 50 for name in happens), chunk.counts


@dataclass(frozen=True)
class Find:
    """Within how many seeds a fault is found, in which kind of schedules, and what gives it away."""

    seeds: int
    says: str
    kind: Kind = field(default=CALM)


FINDS = {
    "no_guard_at_all": Find(30, "took effect"),
    "the_version_alone": Find(150, "took effect after", CUT),
    "the_version_stands_still": Find(20, "tells"),
    "the_hash_of_a_create_is_not_kept": Find(20, "'key-reused'"),
    "heads_from_a_foreign_partition": Find(400, "where the log says", Kind(cuts=0, files=0, strays=1)),
    "no_barrier": Find(30, "was refused"),
    "the_barrier_asks_the_own_position": Find(30, "was refused"),
    "a_stopped_tail_still_answers": Find(400, "was refused", CUT),
    "two_events_per_command": Find(200, "took effect at offset"),
    "accepted_at_the_acknowledgement": Find(30, "was answered 202"),
    "the_answer_is_what_was_produced": Find(30, "was answered 202"),
    "an_acknowledgement_without_offset_is_believed": Find(150, "was answered 202"),
    "the_verdict_on_another_record_of_the_same_id": Find(400, "was answered 202", FORGED),
    "event_ids_made_from_the_command": Find(150, "drops a second record"),
    "commands_are_not_remembered": Find(100, "was refused|took effect at offset"),
    "commands_are_forgotten_too_early": Find(400, "was refused|took effect at offset", FORGETFUL),
    "a_refusal_is_remembered": Find(200, "was refused"),
    "a_repetition_is_told_where_the_job_stands_now": Find(60, "was answered 202"),
    "the_body_of_a_repetition_is_not_compared": Find(80, "was answered 202"),
    "if_match_is_ignored": Find(150, "was answered 202|was refused"),
    "if_match_comes_before_the_repetition": Find(400, "was refused as 'version"),
    "heads_kept_without_their_position": Find(250, "where the log says", KEPT),
    "a_position_kept_without_its_heads": Find(30, "where the log says"),
    "a_kept_file_is_believed_whatever_the_log_lost": Find(
        120, "where the log says|knows|was answered", CUT_AND_KEPT
    ),
    "the_reader_starts_without_an_epoch": Find(400, "where the log says|knows|was answered", CUT_AND_KEPT),
    "the_position_is_told_before_the_heads": Find(200, "was refused"),
}


def first_violation(find: Find) -> tuple[int, str]:
    """The first seed whose violation is of the kind that was meant, and what it says."""
    others = []
    for seed in range(find.seeds):
        try:
            run_schedule(seed, find.kind)
        except Violation as violation:
            if re.search(find.says, str(violation)):
                return seed, str(violation)
            others.append(str(violation))
    pytest.fail(f"not within {find.seeds} seeds; others: {others[:5]}")


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_replayed(name: str) -> None:
    find = FINDS[name]
    with simulated(), planted(name):
        seed, said = first_violation(find)
        with pytest.raises(Violation) as again:
            run_schedule(seed, find.kind)
        assert str(again.value) == said
    with simulated():
        run_schedule(seed, find.kind)  # without the fault it holds


def test_a_seed_tells_the_same_story_every_time() -> None:
    stories: list[list[str]] = [[], []]
    with simulated():
        for story in stories:
            for seed in range(5):
                run_schedule(seed, trace=story.append)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 100


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["modelcheck", *arguments])
    return command.main()


def test_a_long_run_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.json"
    shared = ["--from-seed", "7", "--workers", "1", "--state", str(state)]
    assert run_command(monkeypatch, "--schedules", "20", *shared) == 0
    counts = json.loads(state.read_text())["counts"]
    assert run_command(monkeypatch, "--schedules", "30", *shared) == 0
    saved = json.loads(state.read_text())
    assert (saved["from_seed"], saved["done"], saved["failures"]) == (7, 30, [])
    assert Counter(saved["counts"]) - Counter(counts) == run_chunk(27, 37).counts
    assert "30 schedules from seed 7" in capsys.readouterr().out


def test_one_seed_is_told_step_by_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(monkeypatch, "--seed", "3", "--trace") == 0
    assert re.search(r"instance \d is asked: request \d+ ", capsys.readouterr().out)
    with planted("no_guard_at_all"), simulated():
        seed, _ = first_violation(Find(30, "", Kind()))
    with planted("no_guard_at_all"):
        assert run_command(monkeypatch, "--seed", str(seed)) == 1
    assert f"FAILED seed {seed}, step" in capsys.readouterr().out
