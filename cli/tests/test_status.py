"""`darkroom status` says what is so: with projectors that stopped, froze or died, and with parts that are away."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from darkroom.cli import lag, status
from darkroom.cli.main import app
from darkroom.cli.stack.ports import free_port
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.schemas.views import FOLD_VERSIONS

DEADLINE_S = 30.0
PARTITIONS = 3
NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
STUB = Path(__file__).with_name("stub_service.py")


def mark(partition: int, offset: int, end_seen: int, seconds_ago: float | None) -> dict[str, Any]:
    at = None if seconds_ago is None else (NOW - timedelta(seconds=seconds_ago)).isoformat()
    return {"partition": partition, "next": offset, "end_seen": end_seen, "end_seen_at": at}


def projection(*marks: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = {"read_model": "jobs", "family": "jobs", "generation": 3, "kept": [2], "building": None}
    return named | {"topic": "t", "partitions": list(marks), "quarantined": 0} | more


def shown(table: Any, width: int = 80) -> list[list[str]]:
    console = Console(width=width, record=True, file=StringIO())
    console.print(table)
    return [line.split() for line in console.export_text().splitlines()]


def test_the_logs_own_ends_stand_beside_the_checkpoints() -> None:
    marks = projection(mark(0, 7, 7, 0.4), mark(1, 5, 6, 1), mark(2, 9, 9, None), mark(3, 4, 6, 42))
    found = lag.standings(marks, {0: 7, 1: 8, 2: 4, 3: None}, NOW)
    rows = shown(status.partitions_table(found))[1:]
    assert rows[0] == ["0", "7", "7", "0", "7,", "0", "s", "ago"]
    assert rows[1] == ["1", "5", "8", "3", "6,", "1", "s", "ago"]
    assert rows[2] == ["2", "9", "4", "5", "ahead", "never"]
    assert rows[3] == ["3", "4", "?", "≥", "2", "6,", "42", "s", "ago"]
    assert rows[4] == ["all", "25", "?", "≥", "5"]
    assert status.title([marks, projection(read_model="runs")]) == "[bold]jobs, runs[/bold]: generation 3 (2 kept)"


def test_alarms_name_who_is_silent_and_for_how_long() -> None:
    marks = projection(
        mark(0, 1, 1, 5.0), mark(1, 1, 1, 42.2), mark(2, 1, 1, 43), mark(3, 1, 1, 7_400), mark(4, 1, 1, None)
    )
    ends: dict[int, int | None] = dict.fromkeys(range(6), 1)
    assert lag.alarms("t", 6, lag.standings(marks, ends, NOW)) == [
        "the projector of partition 4 of t has never been heard of: is it running?",
        "the projector of partition 3 of t has not been heard of for 2 h: is it running?",
        "the projector of partitions 1 and 2 of t has not been heard of for 42 s: is it running?",
        "t has no checkpoint for partition 5: has a projector ever run there?",
    ]
    assert lag.alarms("t", 1, lag.standings(projection(mark(0, 9, 9, 1)), {0: 4}, NOW)) == [
        "the checkpoint of partition 0 of t is ahead of the log: the log has lost events, or is another one"
    ]
    assert lag.alarms("t", 1, lag.standings(projection(mark(0, 9, 9, 1)), {0: 9}, NOW)) == []
    silent = lag.standings(projection(*(mark(p, 1, 1, 60) for p in range(4))), {}, NOW)
    assert lag.alarms("t", None, silent) == [
        "the projector of partitions 0 to 3 of t has not been heard of for 60 s: that may be for the log's absence "
        "alone"
    ]


def test_read_models_of_other_folds_are_said_to_need_a_replay() -> None:
    members = [
        projection(mark(0, 1, 1, 60), read_model=name, fold_version=FOLD_VERSIONS[name] - (name == "runs"))
        for name in ("jobs", "runs")
    ]
    assert lag.outdated(members) == ["runs"]
    assert lag.alarms("t", 1, lag.standings(members[0], {0: 1}, NOW), ["runs"]) == [
        "runs: made by other folds than this version: run `darkroom replay`",
        "the projector of partition 0 of t has not been heard of for 60 s: only one of the version that made them "
        "carries them on",
    ]
    assert lag.outdated([projection(fold_version=None)]) == []  # no projector has ever run


@pytest.mark.parametrize("ahead_s", [-3_600, 3_600], ids=["behind", "ahead"])
def test_clocks_that_differ_neither_make_an_alarm_nor_hide_one(ahead_s: float) -> None:
    before = [projection(mark(0, 1, 1, -ahead_s), mark(1, 1, 1, -ahead_s))]
    after = [projection(mark(0, 1, 1, -ahead_s - 1), mark(1, 1, 1, -ahead_s))]
    assert lag.doubtful(before, NOW)  # so it is worth a second look
    heard = lag.moved(before, after)["jobs"]
    found = lag.standings(after[0], {0: 1, 1: 1}, NOW, heard)
    assert [s.silent for s in found] == [False, True]
    assert "partition 1" in lag.alarms("t", 2, found)[0]
    assert not lag.doubtful([projection(mark(0, 1, 1, 4.9), mark(1, 1, 1, -0.9))], NOW)


def test_durations_are_said_as_people_say_them() -> None:
    assert [lag.lasted(s) for s in (-1, 0.9, 119, 120, 7_199, 7_200, 172_799, 172_800)] == [
        "0 s",
        "0 s",
        "119 s",
        "2 min",
        "119 min",
        "2 h",
        "47 h",
        "2 days",
    ]


@dataclass
class Parts:
    """Projectors and a query API of their own on the run's servers; the command API is a stub."""

    environment: dict[str, str]
    kafka: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [sys.executable, *argv],
            env=os.environ | self.environment | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(started)
        return started

    def projector(self) -> subprocess.Popen[bytes]:
        return self.start("-m", "darkroom.projector", "--group", self.environment["DARKROOM_MONGODB_DATABASE"])

    def query_api(self, **environment: str) -> str:
        """Its base URL."""
        port = str(free_port())
        self.start("-m", "darkroom.query_api", DARKROOM_QUERY_PORT=port, **environment)
        return f"http://127.0.0.1:{port}"

    def append(self, partition: int, count: int) -> None:
        """Records that no fold can read."""
        log = KafkaLog(self.kafka, self.environment["DARKROOM_TOPIC_JOBS"])
        for _ in range(count):
            log.append(partition, b"k", b"not an event", []).result(DEADLINE_S)
        log.close(1.0)

    def status(self, **environment: str) -> tuple[int, str]:
        """Exit code and output of `darkroom status`."""
        done = CliRunner().invoke(app, ["status"], env=self.environment | environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout + done.stderr

    def until(self, right: Callable[[int, str], bool], **environment: str) -> str:
        """What status says once it is right."""
        ends = monotonic() + DEADLINE_S
        while not right(*(said := self.status(**environment))):
            assert monotonic() < ends, said[1]
            threading.Event().wait(0.1)
        return said[1]


@pytest.fixture
def parts(
    kafka: str, mongodb: str, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Parts]:
    """Patience is shortened: a projector that is silent for two seconds is missed."""
    monkeypatch.setattr(lag, "HEARD_S_MAX", 2.0)
    monkeypatch.setattr(status, "_LOOK_AGAIN_S", 1.4)
    monkeypatch.setattr(status, "LOG_TIMEOUT_S", 2.0)
    stub_port = str(free_port())
    made = Parts(
        {
            "DARKROOM_KAFKA": kafka,
            "DARKROOM_MONGODB": mongodb,
            "DARKROOM_MONGODB_DATABASE": unique_name,
            "DARKROOM_TOPIC_JOBS": f"{unique_name}-jobs",
            "DARKROOM_TOPIC_MODELS": f"{unique_name}-models",
            "DARKROOM_TOPIC_HEARTBEATS": f"{unique_name}-heartbeats",
            "DARKROOM_PARTITIONS": str(PARTITIONS),
            "DARKROOM_BLOBS": f"file://{tmp_path}/blobs",
            "DARKROOM_DATA": str(tmp_path),
            "DARKROOM_COMMAND_URL": f"http://127.0.0.1:{stub_port}",
            "COLUMNS": "120",
        },
        kafka,
    )
    made.start(str(STUB), "well", DARKROOM_COMMAND_PORT=stub_port)
    yield made
    for process in made.processes:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(DEADLINE_S)


@contextmanager
def frozen(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def well(code: int, _said: str) -> bool:
    return code == 0


def silent(code: int, said: str) -> bool:
    return code == 1 and "is it running?" in said


def rows(said: str) -> list[list[str]]:
    """The beginnings of the lines: partition, folded up to, the log's end, behind, end seen."""
    return [line.split()[:5] for line in said.splitlines()]


def test_status_is_true_whatever_is_frozen_stopped_or_away(parts: Parts) -> None:
    jobs = parts.environment["DARKROOM_TOPIC_JOBS"]
    projector = parts.projector()
    parts.environment["DARKROOM_QUERY_URL"] = parts.query_api()
    dead = f"127.0.0.1:{free_port()}"
    without = parts.query_api(
        DARKROOM_MONGODB=f"mongodb://{dead}/?directConnection=true", DARKROOM_REQUEST_DEADLINE_S="1"
    )
    said = parts.until(well)
    assert "jobs, runs, history, stats, jobs_quarantine: generation 1" in said
    assert said.count("0, 0 s ago") + said.count("0, 1 s ago") == PARTITIONS + 1  # an idle projector is no alarm
    with frozen(projector):
        said = parts.until(silent)
        assert f"the projector of partitions 0 to 2 of {jobs} has not been heard of for " in said
        parts.append(1, 5)
        code, said = parts.status()
        assert code == 1
        assert ["1", "0", "5", "5", "0,"] in rows(said)  # the projector saw 0
    said = parts.until(lambda code, said: code == 0 and "quarantine   5" in said)
    assert ["1", "5", "5", "0", "5,"] in rows(said)
    projector.terminate()
    assert projector.wait(DEADLINE_S) == 0
    parts.until(silent)
    for query_url in (without, f"http://{dead}"):  # MongoDB away; the query API away
        said = parts.until(lambda code, said: code == 1 and "nobody can say" in said, DARKROOM_QUERY_URL=query_url)
        assert ["1", "?", "5"] in rows(said)
        assert "quarantine" not in said
    code, said = parts.status(DARKROOM_KAFKA=dead)
    assert code == 1
    assert ["1", "5", "?", "≥", "0"] in rows(said)


@pytest.mark.long
def test_status_names_the_partitions_that_nobody_projects(parts: Parts) -> None:
    projectors = [parts.projector(), parts.projector()]
    parts.environment["DARKROOM_QUERY_URL"] = parts.query_api()
    parts.until(well)
    parts.append(1, 5)
    alarm = re.compile(r"partitions? ([0-2and ]+) of \S+-jobs has not been heard of")
    named = []
    for projector in projectors:
        with frozen(projector):
            named.append(alarm.findall(parts.until(lambda _, said: alarm.search(said) is not None)))
        parts.until(well)
    assert sorted("".join(named[0] + named[1]).replace(" and ", "")) == ["0", "1", "2"]
    for projector in projectors:
        projector.kill()
    parts.until(lambda code, said: code == 1 and "partitions 0 to 2" in said)
    parts.projector()
    assert "quarantine   5" in parts.until(well)  # once the group has missed the dead
