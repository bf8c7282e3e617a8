"""The stack of the run with the bundled models in it, and the test data."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from darkroom.cli.connect import Stack
from darkroom.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
API = "/api/v1/inference"

Darkroom = Callable[..., str]


@pytest.fixture(scope="session")
def testdata() -> Path:
    folder = Path(os.environ.get("DARKROOM_TESTDATA", ROOT / "../shared/testdata")).resolve()
    if not (folder / "expected.json").is_file():
        pytest.fail(f"no test data at {folder}: set DARKROOM_TESTDATA to the folder that holds expected.json")
    return folder


@pytest.fixture(scope="session")
def expected(testdata: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((testdata / "expected.json").read_text())
    return found


@pytest.fixture(scope="session")
def darkroom(stack: Stack, stack_folder: Path) -> Darkroom:
    """Runs the `darkroom` command against the stack; it must succeed. Returns what it printed."""

    runner = CliRunner(env={"DARKROOM_READY_FILE": str(stack_folder / "ready.json")})

    def run(*arguments: str) -> str:
        done = runner.invoke(app, list(arguments))
        assert done.exit_code == 0, f"darkroom {' '.join(arguments)}\n{done.output}\n{done.exception!r}"
        return done.output

    run("models", "add", "--bundled")
    return run


@pytest.fixture(scope="session")
def commands(stack: Stack, darkroom: Darkroom) -> Iterator[httpx.Client]:
    """A client of the command API; the bundled models are registered."""
    with httpx.Client(base_url=stack.command_url + API, timeout=30.0) as client:
        yield client


@pytest.fixture(scope="session")
def queries(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the query API."""
    with httpx.Client(base_url=stack.query_url + API, timeout=90.0) as client:
        yield client


@pytest.fixture(scope="session")
def samples() -> Path:
    return ROOT / "models" / "samples"
