"""`darkroom replay` as a user runs it, on a projector's database."""

import subprocess
import sys

from darkroom.projector.testing import traffic, wait_until


def darkroom(bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "darkroom.cli", "replay", *arguments]
    return subprocess.run(
        argv, env=bench.environment | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=60
    )


def test_checks_shows_repairs_and_rebuilds(bench):
    records = traffic(20, 30, 3)
    bench.append(records)
    process = bench.process()
    bench.wait_projected(len(records))
    models = {"read_model": "models"}
    wait_until(lambda: bench.store.checkpoints.find_one(models) is not None, "the catalogue is projected too")

    plain = darkroom(bench)
    assert plain.returncode == 0, plain.stderr
    assert f"{len(records)} events" in plain.stdout
    assert plain.stdout.count("switched to generation 2") == 2
    assert "\x1b" not in plain.stdout

    checked = darkroom(bench, "--check")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("equal the log") == 2

    altered = bench.store.database["jobs_g2"].find_one({})["_id"]
    bench.store.database["jobs_g2"].update_one({"_id": altered}, {"$set": {"status": "?"}})
    wrong = darkroom(bench, "jobs", "--check")
    assert wrong.returncode == 1
    assert altered in wrong.stdout
    assert "status: '?' is " in wrong.stdout
    assert "not switched" in darkroom(bench, "jobs").stdout

    one = darkroom(bench, "--job", altered)
    assert one.returncode == 0, one.stderr
    assert "statistics" in one.stdout
    assert darkroom(bench, "jobs", "--check").returncode == 0

    unknown = darkroom(bench, "nonsense")
    assert unknown.returncode == 2
    assert "the read models are jobs, runs" in unknown.stderr
    nobody = darkroom(bench, "--job", "nobody")
    assert nobody.returncode == 2
    assert "holds no job nobody" in nobody.stderr

    process.terminate()
    assert process.wait(10) == 0
