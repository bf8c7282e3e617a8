"""A running `darkroom up` of stub services."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from darkroom.cli.stack.testing import DEADLINE_S, Up

STUBBED = (sys.executable, str(Path(__file__).with_name("stub_up.py")))


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts a `darkroom up` with stub services; whatever a test leaves running is killed."""
    started: list[Up] = []

    def start(*options: str, **env: str) -> Up:
        started.append(Up(tmp_path, STUBBED, *options, **env))
        return started[-1]

    yield start
    for up in started:
        up.process.kill()
        up.process.wait(DEADLINE_S)
