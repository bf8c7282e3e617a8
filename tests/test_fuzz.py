"""Both APIs against requests made from their own documents: no answer that the document does not foretell.

A short run with a fixed seed. The long one: `make fuzz`.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

import pytest
from fuzz.judging import different, violations
from fuzz.known import Known
from fuzz.liar import Liar, Lie
from fuzz.loop import fuzz
from fuzz.making import Asked, requests_of
from fuzz.sending import Sender
from fuzz.targets import API, Target, targets_of

from darkroom.cli.connect import Stack

COMMANDS = (
    "createJob", "putJob", "runJob", "cancelJob", "deleteJob", "uploadMedia", "registerModel", "retireModel",
    "getPositions",
)  # fmt: skip
QUERIES = (
    "listJobs", "getJob", "listRuns", "getRun", "getJobEvents", "streamEvents", "getInput", "getAnnotatedInput",
    "listModels", "getModel", "getStats", "listProjections",
)  # fmt: skip
EXAMPLES = 8
VARIANTS = 2
BOUNDARIES = Path(__file__).with_name("fuzz") / "schemathesis.toml"


@pytest.fixture(scope="module")
def targets(stack: Stack) -> Mapping[str, Target]:
    return targets_of(stack.command_url) | targets_of(stack.query_url)


@pytest.fixture(scope="module")
def known(stack: Stack, darkroom: Callable[..., str]) -> Iterator[Known]:
    found = Known.planted(stack.command_url + API, stack.query_url + API, "fuzz")
    yield found
    found.close()


@pytest.fixture(scope="module")
def senders(stack: Stack) -> Iterator[Callable[[Target], Sender]]:
    both = {url: Sender(url) for url in (stack.command_url, stack.query_url)}
    yield lambda target: both[target.base_url]
    for sender in both.values():
        sender.close()


def test_no_operation_is_left_out(targets: Mapping[str, Target]) -> None:
    assert set(targets) == {*COMMANDS, *QUERIES}


@pytest.mark.parametrize("operation", [*COMMANDS, *QUERIES])
def test_every_answer_is_in_the_document(
    operation: str, targets: Mapping[str, Target], known: Known, senders: Callable[[Target], Sender]
) -> None:
    target = targets[operation]
    report = fuzz(target, known, senders(target), EXAMPLES, seed=11, variants=VARIANTS)
    assert not report.violations, report.told()
    assert report.requests >= EXAMPLES * (1 + 2 * VARIANTS) or operation == "listProjections"  # which takes nothing
    # A share of them got through to what the operation is there for.
    assert any(status < 400 for _, status in report.answers), report.table()


@pytest.mark.parametrize("service", ["command_url", "query_url"])
def test_the_boundaries_of_every_parameter(
    stack: Stack, darkroom: Callable[..., str], service: str, tmp_path: Path
) -> None:
    """Schemathesis's own table of boundary values, missing parts, other methods and media types."""
    program = Path(sys.executable).with_name("schemathesis")
    options = ("--phases", "coverage", "--seed", "11", "--no-color")
    done = subprocess.run(
        [program, "--config-file", BOUNDARIES, "run", f"{getattr(stack, service)}{API}/openapi.json", *options],
        cwd=tmp_path,  # it leaves files of its own
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "Test cases:" in done.stdout


PROBLEM = "application/problem+json"
NOT_FOUND = {"type": "urn:darkroom:problem:unknown-job", "title": "t", "status": 404, "detail": "d"}
IDS = {"X-Request-Id": "x"}
URLS = dict.fromkeys(("get", "result", "events", "web", "cancel"), "http://q.test/jobs/1?after=p")
ACCEPTED = {
    "id": "01977f6e-7c1a-7d3e-9c55-3f2a4d5e6f70", "status": "queued", "version": 1, "run": 1, "position": "p",
    "urls": URLS,
}  # fmt: skip
FOUND = {"Location": URLS["result"], "Retry-After": "1", **IDS}


def _problem(status: int, name: str, **more: str) -> Lie:
    body = NOT_FOUND | {"type": f"urn:darkroom:problem:{name}", "status": status}
    return Lie(status, json.dumps(body), {"Content-Type": PROBLEM, **IDS, **more})


def _json(status: int, body: object, headers: Mapping[str, str]) -> Lie:
    return Lie(status, json.dumps(body), {"Content-Type": "application/json", **headers})


@pytest.mark.parametrize(
    ("lie", "checks"),
    [
        (_problem(404, "unknown-job"), set()),
        (_json(202, ACCEPTED, FOUND), set()),
        (_problem(500, "internal-error"), {"server-error"}),
        (_problem(503, "log-unavailable"), {"server-error", "retry-after"}),
        (_problem(404, "rate-limited"), {"problem-type"}),
        (_problem(418, "unknown-job"), {"problem-type", "UndefinedStatusCode"}),
        (_problem(404, "unknown-job", **{"Content-Type": "text/html"}), {"problem", "UndefinedContentType"}),
        (Lie(404, json.dumps(NOT_FOUND), {"Content-Type": PROBLEM}), {"request-id"}),
        (Lie(404, "{}", {"Content-Type": PROBLEM, **IDS}), {"problem", "JsonSchemaError"}),
        (_json(202, ACCEPTED | {"version": "one"}, FOUND), {"JsonSchemaError"}),
        (_json(202, ACCEPTED, FOUND | {"Location": "http://q.test/"}), {"location"}),
        (_json(202, ACCEPTED, FOUND | {"Retry-After": "soon"}), {"JsonSchemaError"}),
        (
            _problem(404, "unknown-job", X="y")._replace(body='{"detail": "Traceback"}'),
            {"problem", "JsonSchemaError"},
        ),
    ],
)
def test_the_judge_finds_a_lie(lie: Lie, checks: set[str], targets: Mapping[str, Target]) -> None:
    target = targets["cancelJob"]
    with Liar([lie]) as liar, Sender(liar.url) as sender:
        asked = Asked(target.operation.Case(path_parameters={"job_id": "x"}), "known")
        answer = sender.send(asked)
        assert not isinstance(answer, str)
        assert {check for check, _ in violations(target, asked, answer)} == checks


def test_the_judge_finds_a_refusal_that_is_a_mistake(targets: Mapping[str, Target], known: Known) -> None:
    target = targets["uploadMedia"]
    right = next(
        asked
        for asked in requests_of(target, target.operation.Case(), known, Random(1), 1)
        if asked.meant is not None
    )
    with Liar([_problem(415, "unsupported-media")]) as liar, Sender(liar.url) as sender:
        answer = sender.send(right)
        assert not isinstance(answer, str)
        assert "acceptance" in {check for check, _ in violations(target, right, answer)}


def test_the_judge_finds_a_command_that_took_effect_twice(targets: Mapping[str, Target]) -> None:
    asked = Asked(targets["cancelJob"].operation.Case(path_parameters={"job_id": "x"}), "known")
    twice = [_json(202, ACCEPTED, FOUND), _json(202, ACCEPTED | {"version": 2}, FOUND)]
    with Liar([*twice, twice[0], twice[0]]) as liar, Sender(liar.url) as sender:
        answers = [sender.send(asked) for _ in range(4)]
        assert list(different(answers[0], answers[1]))
        assert not list(different(answers[2], answers[3]))


def test_no_answer_at_all_is_told_with_the_request(targets: Mapping[str, Target]) -> None:
    asked = Asked(targets["cancelJob"].operation.Case(path_parameters={"job_id": "x"}), "known")
    with Liar([]) as liar, Sender(liar.url) as sender:
        told = sender.send(asked)
    assert isinstance(told, str)
    assert told.startswith("curl ")
    assert "/jobs/x/cancel" in told
