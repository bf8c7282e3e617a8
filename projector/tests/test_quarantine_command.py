"""`darkroom quarantine` as a user runs it: poison is listed and shown, and mended code brings it into the views.

Run as a script, this file is the `darkroom` command of that mended code.
"""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import orjson
import pytest
from click.testing import Result
from typer.testing import CliRunner

from darkroom.cli.main import app
from darkroom.projector.projections.families import JOBS, MODELS
from darkroom.projector.store_generations import ensure, live_generation
from darkroom.projector.testing import SPEC, Chain, traffic
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import job
from darkroom.schemas.upcasting import UPCASTERS

OLD, NEW = b"darkroom.job.execution-requested.v0", b"darkroom.job.execution-requested.v1"
WITH_ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.fixture
def darkroom(bench, monkeypatch):
    """Calls `darkroom quarantine …` on the bench, in this process, and expects that exit code."""
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["quarantine", *arguments])
        assert result.exit_code == code, result.output
        return result

    return run


def lift(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The upcaster that was missing: `tries` was the name of `max_attempts`."""
    data["spec"]["max_attempts"] = data["spec"].pop("tries")
    return NEW.decode(), data


def as_old(record: Record) -> Record:
    """The record as an older version of Darkroom would have written it: another type, `tries` in its data."""
    event = orjson.loads(record.value or b"")
    event |= {"type": OLD.decode(), "dataschema": f"urn:darkroom:schema:{OLD.decode()}"}
    event["data"]["spec"]["tries"] = event["data"]["spec"].pop("max_attempts")
    headers = [(name, OLD if value == NEW else value) for name, value in record.headers]
    return replace(record, value=orjson.dumps(event), headers=headers)


def story(partitions: int) -> tuple[str, list[Record]]:
    """A job whose second run was requested in the old form: its later events need that run."""
    chain = Chain("7d444840-9dc0-11d1-b245-5ffdce74fad2", partitions)
    done = job.ExecutionSucceeded(2, 1, ({"input": 0, "kind": "classification", "classes": []},), None, {}, {})
    return chain.key, [
        chain.record(job.Created(SPEC, {}, True), "e1"),
        chain.record(job.ExecutionStarted(1, 1, "x", 9.0), "e2"),
        chain.record(job.ExecutionFailed(1, 1, job.Problem("urn:x", "Broken", "of course")), "e3"),
        as_old(chain.record(job.ExecutionRequested(2, SPEC), "e4")),
        chain.record(job.ExecutionStarted(2, 1, "x", 9.0), "e5"),
        chain.record(done, "e6"),
    ]


def placed(records: list[Record], partitions: int) -> list[Record]:
    """With the offsets that they get in an empty topic."""
    ends = dict.fromkeys(range(partitions), 0)
    found = []
    for record in records:
        found.append(replace(record, offset=ends[record.partition]))
        ends[record.partition] += 1
    return found


def test_poison_is_shown_and_mended_code_brings_it_into_the_views(bench, clean_fold, darkroom, monkeypatch):
    key, old = story(3)
    foreign = Record(0, 0, b"\xff\x00", b"\xfe\x01binary", [("type", WITH_ESCAPES.encode())], 1_700_000_000_000)
    records = placed([*traffic(30, 20, 3, poison=False), *old, foreign], 3)
    bench.append(records)
    process = bench.process()
    bench.wait_projected(len(records))
    process.terminate()
    assert process.wait(10) == 0

    listed = [json.loads(line) for line in darkroom("list", "--json").output.splitlines()]
    mine = [q for q in listed if q["key"] == key]
    assert [q["type"].split(".")[2:] for q in mine] == [
        ["execution-requested", "v0"],
        ["execution-started", "v1"],
        ["execution-succeeded", "v1"],
    ]
    table = darkroom("list").output
    assert "4 in quarantine" in table
    assert all(q["id"] in table for q in listed)
    assert "4 in quarantine, 1 of them shown" in darkroom("list", "--limit", "1").output
    (odd,) = (q["id"] for q in listed if q["key"] == "0xff00")
    shown = darkroom("show", odd).output
    assert "00000000  fe 01 62 69 6e 61 72 79                          ..binary" in shown
    assert r"type: \x1b]0;owned\x07\x1b[2J\u202e" in shown
    assert not set("\x1b\x07\u202e") & set(shown + table)
    about = darkroom("show", mine[0]["id"]).output
    assert "unknown event type" in about
    assert "2 later records of it are in quarantine too" in about
    assert '"tries"' in about
    assert "is not in quarantine" in darkroom("show", "nothing:p0:1", code=2).output

    before = bench.checksums()
    looked = darkroom("retry").output
    assert "nothing would change" in looked
    assert "models: the quarantine is empty" in looked
    with monkeypatch.context() as mended:
        mended.setitem(UPCASTERS, OLD.decode(), lift)
        dry = darkroom("retry", "--dry-run").output
        clean = clean_fold(records)
    assert "jobs: 4 looked at, 3 would be readable now" in dry
    assert "nothing was written" in dry
    assert (bench.checksums(), live_generation(bench.store, JOBS)) == (before, 1)

    argv = [sys.executable, __file__, "quarantine", "retry"]  # another process, with code of its own
    done = subprocess.run(argv, env=bench.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "switched to generation 2, which has 1 in quarantine" in done.stdout
    assert bench.checksums(2) == clean != before
    document = bench.store.database["jobs_g2"].find_one({"_id": key})
    assert (document["status"], document["run"]["run"], document["run"]["max_attempts"]) == ("succeeded", 2, 3)


def test_code_that_reads_less_says_so(bench, darkroom, monkeypatch):
    """A retry with the code before the mended one: what is in the views now would go back into quarantine."""
    _, old = story(3)
    records = placed([*old, replace(old[0], value=b"{")], 3)
    bench.append(records)
    ensure(bench.store, MODELS, bench.models.topic, bench.models.topic_id, 1)
    with monkeypatch.context() as mended:
        mended.setitem(UPCASTERS, OLD.decode(), lift)
        with bench.live():
            bench.wait_projected(len(records))
    output = darkroom("retry").output
    assert output.count("not in quarantine so far; unknown event type") == 1
    assert "nothing would change" in output


if __name__ == "__main__":
    UPCASTERS[OLD.decode()] = lift
    app()
