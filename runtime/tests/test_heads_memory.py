"""What a million jobs cost an instance in memory: nearly nothing, and no more for more jobs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "heads.py"


def step(name: str, folder: Path, jobs: int) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(_BENCHMARK), "--step", name, "--kind", "sqlite", "--folder", str(folder)]
    done = subprocess.run([*command, "--sizes", str(jobs)], check=True, stdout=subprocess.PIPE, timeout=1_500)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_an_instance_that_knows_a_million_jobs_is_within_100_mb_of_one_that_knows_none(tmp_path: Path) -> None:
    none = step("idle", tmp_path / "none", 0)
    grown = {}
    for jobs in (100_000, 1_000_000):
        step("make", tmp_path / str(jobs), jobs)
        grown[jobs] = step("measure", tmp_path / str(jobs), jobs)["rss"] - none["rss"]
    assert grown[1_000_000] < 100
    assert grown[1_000_000] < grown[100_000] + 20, "it must not grow with the number of jobs"
