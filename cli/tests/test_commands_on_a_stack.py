"""The commands against a whole stack of its own: what a newcomer types, and what a script relies on."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from darkroom.cli.connect import Stack
from darkroom.cli.main import app
from darkroom.cli.modelfiles import models_folder
from darkroom.runtime.ids import new_id
from darkroom.simulator import pictures, specimens
from darkroom.simulator.client import CommandClient, data_url

DARKROOM = (sys.executable, "-m", "darkroom.cli")
TAIL_LINE = re.compile(r"^Inference job \(id: ([0-9a-f-]{36})\) ([a-z-]+): ([a-z]+)$")
SAMPLES = models_folder() / "samples"


@pytest.fixture(scope="module")
def environment(stack: Stack, stack_folder: Path) -> Mapping[str, str]:
    """With it, commands find the stack of this run; its bundled models are there."""
    environment = {"DARKROOM_READY_FILE": str(stack_folder / "ready.json"), "PATH": "/usr/bin:/bin"}
    done = darkroom(environment, "models", "add", "--bundled")
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture
def commands(stack: Stack) -> Iterator[CommandClient]:
    client = CommandClient(stack.command_url)
    yield client
    client.close()


@dataclass(frozen=True)
class Done:
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def darkroom(environment: Mapping[str, str], *arguments: str) -> Done:
    """Runs a command: in this process, for that is quicker, unless it sets signal handlers of its own."""
    if arguments[0] not in ("tail", "simulate"):
        result = CliRunner().invoke(app, list(arguments), env=dict(environment))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)
    done = subprocess.run(
        [*DARKROOM, *arguments], env=dict(environment), capture_output=True, text=True, timeout=90, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_submit_and_wait_shows_statuses_results_and_where_to_look(environment: Mapping[str, str]) -> None:
    done = darkroom(
        environment, "submit", str(SAMPLES / "star.jpg"), "-m", "shapes-classifier", "--wait", "--label", "a=b"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = re.findall(r"^ *[\d.]+ s  (\w+)$", done.stdout, re.MULTILINE)
    assert statuses == ["queued", "running", "succeeded"]
    assert re.search(r"star\.jpg +star +0\.\d{3}", done.stdout)
    assert re.search(r"page +http://127\.0\.0\.1:\d+/jobs/[0-9a-f-]{36}", done.stdout)
    assert "curl -s 'http://127.0.0.1:" in done.stdout


def test_submit_says_what_the_service_refuses(environment: Mapping[str, str], tmp_path: Path) -> None:
    done = darkroom(environment, "submit", str(SAMPLES / "star.jpg"), "-m", "no-such-model")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no-such-model" in done.stderr
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures.truncated().data)
    done = darkroom(environment, "submit", str(broken), "-m", "shapes-classifier")
    assert done.returncode == 2
    assert "(422)" in done.stderr


def test_submit_of_a_job_that_fails_has_its_own_exit_code(
    environment: Mapping[str, str], commands: CommandClient, tmp_path: Path
) -> None:
    garbage = specimens.garbage()
    file = tmp_path / "garbage.tflite"
    file.write_bytes(garbage.data)
    assert commands.register_model(garbage.description, file).status == 202
    done = darkroom(environment, "submit", str(SAMPLES / "star.jpg"), "-m", "garbage", "--wait")
    assert done.returncode == 1, done.stderr
    assert "urn:darkroom:problem:model-invalid" in done.stdout.replace("\n", "")


def test_tail_prints_exactly_the_lines_of_the_contract(
    environment: Mapping[str, str], commands: CommandClient
) -> None:
    inputs = [{"data": data_url(pictures.pool(1)[0])}]
    created = commands.create({"model": "shapes-classifier", "inputs": inputs, "execute": False}, new_id())
    job_id = str(created.body["id"])
    deleted = commands.delete(job_id, new_id())
    assert deleted.status == 202
    done = darkroom(environment, "tail", "--no-follow", "--job", job_id)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"Inference job (id: {job_id}) created: created",
        f"Inference job (id: {job_id}) deleted: deleted",
    ]
    whole = darkroom(environment, "tail", "--no-follow").stdout.splitlines()
    assert all(TAIL_LINE.match(line) for line in whole)
    assert len(whole) > 2
    since = darkroom(environment, "tail", "--no-follow", "--since", str(deleted.body["position"]), "--job", job_id)
    assert since.stdout.splitlines() == [f"Inference job (id: {job_id}) deleted: deleted"]
    events = darkroom(environment, "tail", "--no-follow", "--json", "--job", job_id[:20], "--type", "deleted")
    (event,) = [json.loads(line) for line in events.stdout.splitlines()]
    assert (event["type"], event["subject"]) == ("darkroom.job.deleted.v1", job_id)
    assert darkroom(environment, "tail", "--since", "yesterday").returncode == 2


def test_tail_follows_and_ends_quietly_with_its_reader(
    environment: Mapping[str, str], commands: CommandClient
) -> None:
    one = new_id()
    ids = [one, f"{one[:-4]}0000"]  # alike at their beginning
    inputs = [{"data": data_url(pictures.pool(2)[0])}]
    body = {"model": "shapes-classifier", "inputs": inputs, "execute": False}
    with subprocess.Popen(
        [*DARKROOM, "tail", "--job", one[:-4]],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        try:
            assert tail.stdout is not None
            assert tail.stderr is not None
            assert commands.create(body, "", ids[0]).status == 202
            assert tail.stdout.readline() == f"Inference job (id: {ids[0]}) created: created\n"
            tail.stdout.close()  # the reader goes away; the next line has nowhere to go
            assert commands.create(body, "", ids[1]).status == 202
            tail.wait(30)
            assert tail.stderr.read() == ""
        finally:
            tail.kill()


def test_simulated_traffic_meets_only_right_answers(environment: Mapping[str, str]) -> None:
    done = darkroom(environment, "simulate", "--count", "60", "--seed", "3", "--samples", str(SAMPLES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"sent 60 .* unexpected 0", done.stdout.splitlines()[-1])
    wrong = darkroom(environment, "simulate", "--count", "5", "--models", "no-such-model")
    assert wrong.returncode == 1
    assert "unknown" in wrong.stderr or "no-such-model" in wrong.stderr


def test_models_are_added_listed_and_retired(environment: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("yes\nno\n", "utf-8")
    (tmp_path / "model.tflite").write_bytes(specimens.endless().data)
    labels, model = str(tmp_path / "labels.txt"), str(tmp_path / "model.tflite")
    add = ("models", "add", model, "--name", "mine", "--labels", labels)
    first = darkroom(environment, *add, "--preprocessing", "raw")
    assert first.returncode == 0, first.stderr
    assert darkroom(environment, *add, "--preprocessing", "raw").returncode == 0  # the same again is no change
    other = darkroom(environment, *add, "--preprocessing", "imagenet")
    assert other.returncode == 2
    assert "register a new version" in other.stderr
    assert darkroom(environment, "models", "retire", "mine@1").returncode == 0
    assert darkroom(environment, "models", "retire", "mine@1").returncode == 2
    listed = darkroom(environment, "models", "list").stdout
    assert "shapes-classifier@1" in listed
    assert "mine@1" in listed


def test_status_knows_that_all_is_well(environment: Mapping[str, str]) -> None:
    done = darkroom(environment, "status")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ready") == 2
    for read_model in ("jobs", "runs", "history", "stats", "models"):
        assert read_model in done.stdout
    assert re.search(r"^jobs +\d+ \(", done.stdout, re.MULTILINE)
    assert re.search(r"^quarantine +0$", done.stdout, re.MULTILINE)


def test_unknown_addresses_are_said_plainly() -> None:
    nowhere: dict[str, Any] = {
        "PATH": "/usr/bin:/bin",
        "DARKROOM_KAFKA": "127.0.0.1:9",
        "DARKROOM_QUERY_URL": "http://127.0.0.1:9",
    }
    done = darkroom(nowhere, "models", "list")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
