"""Submit, models, simulate, tail, status and demo, as far as they go without a stack."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from darkroom.cli import demobatch, modelfiles, plainly, results, submit
from darkroom.cli.errors import UserError
from darkroom.cli.main import app
from darkroom.simulator import specimens
from darkroom.simulator.client import CommandClient
from darkroom.simulator.reader import QueryClient

NOWHERE = {
    "DARKROOM_COMMAND_URL": "http://127.0.0.1:9",
    "DARKROOM_QUERY_URL": "http://127.0.0.1:9",
    "DARKROOM_KAFKA": "127.0.0.1:9",
    "DARKROOM_READY_FILE": "",
}
JOB: Mapping[str, Any] = {
    "status": "succeeded",
    "results": [
        {"input": 0, "kind": "classification", "classes": [{"index": 1, "label": "star", "score": 0.9}]},
        {
            "input": 1,
            "kind": "detection",
            "detections": [
                {"label": "dog", "class_index": 17, "score": 0.93, "box": [1.4, 2.0, 3.0, 4.0]},
                {"label": "dog", "class_index": 17, "score": 0.8, "box": [0, 0, 1, 1]},
            ],
        },
        {"input": 2, "error": {"type": "t", "title": "The picture cannot be read", "detail": "cut off"}},
        {"input": 3, "kind": "classification", "classes": []},
    ],
}


def run(*arguments: str, env: Mapping[str, str] = NOWHERE) -> Any:
    return CliRunner().invoke(app, list(arguments), env=dict(env))


def test_results_are_rows() -> None:
    assert list(results.rows(JOB["results"], ["a.png", "b.png", "c.png"])) == [
        ("a.png", "star", "0.900", ""),
        ("b.png", "dog", "0.930", "1, 2, 3, 4"),
        ("", "dog", "0.800", "0, 0, 1, 1"),
        ("c.png", "! The picture cannot be read: cut off", "", ""),
        ("3", "(nothing over the score)", "", ""),
    ]
    assert results.in_short(JOB) == "star 0.90; 2 dog; ! The picture cannot be read; (nothing)"
    assert results.inputs_with_errors(JOB) == 1


def test_many_results_are_cut_and_counted() -> None:
    classes = [{"index": n, "label": f"l{n}", "score": 0.1} for n in range(25)]
    rows = list(results.rows([{"input": 0, "kind": "classification", "classes": classes}], ["a"]))
    assert len(rows) == results.ROWS_PER_INPUT_MAX + 1
    assert rows[-1][1] == "… and 15 more"


def test_submit_collects_files_and_folders_in_order(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder/b.png", "folder/a.jpg", "folder/notes.txt", "single.bin"):
        (tmp_path / name).write_bytes(b"x")
    found = submit.collect([tmp_path / "single.bin", tmp_path / "folder"])
    assert [p.name for p in found] == ["single.bin", "a.jpg", "b.png"]


@pytest.mark.parametrize("path", ["none.png", "empty"])
def test_submit_names_what_it_cannot_read(tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(typer.Exit):
        submit.collect([tmp_path / path])
    assert path in capsys.readouterr().err


def test_labels_are_pairs() -> None:
    assert submit.labels_of(["batch=42", "a=b=c"]) == {"batch": "42", "a": "b=c"}
    with pytest.raises(typer.Exit):
        submit.labels_of(["batch"])


def test_a_service_that_is_away_is_a_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plainly, "PATIENCE_S", 0.2)
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    done = run("submit", str(picture), "--model", "m")
    assert done.exit_code == 2
    assert "http://127.0.0.1:9" in done.output
    assert "Traceback" not in done.output


class Busy:
    """A service that accepts a job, and whose reads answer 503 the first so many times."""

    def __init__(self, behind: int) -> None:
        self.behind, self.reads = behind, 0
        self.transport = httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            urls = {"web": "http://web/jobs/one", "result": "http://reads/jobs/one"}
            return httpx.Response(202, json={"id": "one", "digest": "sha256:d", "position": "p", "urls": urls})
        self.reads += 1
        if self.reads <= self.behind:
            return httpx.Response(503, json={"title": "Behind"}, headers={"Retry-After": "0"})
        if request.url.path.endswith("/events"):
            base = {"specversion": "1.0", "subject": "one", "id": "e", "streamversion": 1, "previd": "", "run": 1}
            event = json.dumps({**base, "type": "darkroom.job.execution-succeeded.v1"})
            return httpx.Response(200, text=f"data: {event}\n\n", headers={"Content-Type": "text/event-stream"})
        job = {**JOB, "id": "one", "results": JOB["results"][:1], "model": {"name": "m", "version": "1"}}
        return httpx.Response(200, json=job)


@pytest.mark.parametrize(("behind", "code"), [(0, 0), (3, 0), (10**6, 2)])
def test_an_accepted_job_is_told_and_a_503_on_the_way_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: int, code: int
) -> None:
    busy = Busy(behind)

    @contextmanager
    def clients(_: Path | None) -> Iterator[tuple[CommandClient, QueryClient]]:
        with (
            CommandClient("http://commands", transport=busy.transport) as commands,
            QueryClient("http://reads", transport=busy.transport) as queries,
        ):
            yield commands, queries

    monkeypatch.setattr(submit, "clients", clients)
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    timeout = "0.3" if code else "20"
    done = run("submit", str(picture), "--model", "m", "--wait", "--timeout", timeout)
    assert done.exit_code == code, done.output
    assert "page   http://web/jobs/one" in done.output
    assert "curl -s 'http://reads/jobs/one'" in done.output
    assert ("star" in done.output) == (code == 0)
    assert ("Behind (503)" in done.output) == (code == 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "add"], "give one of"),
        (["models", "add", "--bundled", "--catalogue", "x"], "give one of"),
        (["models", "add", "no-such-file.tflite"], "no-such-file.tflite"),
        (["models", "add", "--catalogue", "no-such-model"], "the catalogue holds no no-such-model"),
        (["models", "retire", "name"], "NAME@VERSION"),
        (["models", "list"], "127.0.0.1:9"),
        (["simulate", "--duration", "soon"], "--duration"),
        (["simulate", "--models", ","], "names no model"),
    ],
)
def test_what_makes_no_sense_is_said_with_exit_code_2(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_public_model_is_named_with_its_source_and_what_to_do() -> None:
    done = run("models", "add", "--catalogue", "mobilenet-v2-100-224")
    assert done.exit_code == 2
    assert "tfhub.dev" in done.output
    assert "darkroom models add PATH --name mobilenet-v2-100-224" in done.output


def test_the_bundled_models_are_found_with_their_files() -> None:
    found = {file.reference: file for file in modelfiles.bundled()}
    assert {"shapes-classifier@1", "shapes-detector@1", "shapes-classifier-tf@1"} <= set(found)
    for file in found.values():
        assert file.artifact.is_file()
        assert file.description["labels"]


def test_a_folder_without_models_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_MODELS", str(tmp_path))
    with pytest.raises(UserError, match="DARKROOM_MODELS"):
        modelfiles.bundled()


def test_a_model_file_is_described_with_its_labels_as_names(tmp_path: Path) -> None:
    path = tmp_path / "Endless.tflite"
    path.write_bytes(specimens.endless().data)
    labels = tmp_path / "labels.txt"
    labels.write_text("yes\nno\n", "utf-8")
    file = modelfiles.described(path, tmp_path, labels=labels, preprocessing="raw", activation="none")
    assert file.reference == "endless@1"
    assert file.artifact == path
    assert {k: file.description[k] for k in ("kind", "runtime", "labels")} == {
        "kind": "classification",
        "runtime": "litert",
        "labels": ["yes", "no"],
    }
    assert file.description["input"] == specimens.endless().description["input"]
    with pytest.raises(UserError, match="--labels"):
        modelfiles.described(path, tmp_path, preprocessing="raw")


def test_overlap_of_boxes() -> None:
    assert demobatch.iou([0, 0, 10, 10], [0, 0, 10, 10]) == 1.0
    assert demobatch.iou([0, 0, 10, 10], [5, 0, 10, 10]) == pytest.approx(1 / 3)
    assert demobatch.iou([0, 0, 10, 10], [20, 20, 5, 5]) == 0.0


def test_the_checks_of_the_demonstration_can_fail() -> None:
    one = {"results": [JOB["results"][0]]}
    assert demobatch.top_labels(["star"])(one) is None
    assert "star" in str(demobatch.top_labels(["heart"])(one))
    dogs = {"results": [JOB["results"][1]]}
    assert demobatch.labels_found([["dog", "dog"]])(dogs) is None
    assert "dog" in str(demobatch.labels_found([["dog", "dog", "dog"]])(dogs))
    assert demobatch.labels_found([["dog"], ["cat"]])(dogs) == "1 results for 2 pictures"
    assert demobatch.boxes_at([[{"label": "dog", "box": [1, 2, 3, 4]}]])(dogs) is None
    assert "not found" in str(demobatch.boxes_at([[{"label": "dog", "box": [50, 2, 3, 4]}]])(dogs))
    assert "not found" in str(demobatch.boxes_at([[{"label": "cat", "box": [1, 2, 3, 4]}]])(dogs))
    broken = demobatch.broken_exhibit([])
    assert broken.check({"error": {"type": "urn:darkroom:problem:model-invalid"}}) is None
    assert "crashed" in str(broken.check({"error": {"type": "urn:darkroom:problem:model-crashed"}}))
