"""`darkroom up` with stub services: starts, restarts, stops, and leaves nothing behind."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from darkroom.cli.stack.process import runs
from darkroom.cli.stack.testing import Up, eventually

SERVICES = "command-api,query-api,projector,executor"
Start = Callable[..., Up]


def all_pids(ready: dict[str, object]) -> list[int]:
    pids = ready["pids"]
    assert isinstance(pids, dict)
    return [pid for found in pids.values() for pid in (found if isinstance(found, list) else [found])]


def test_ready_file_tells_all_and_goes_at_the_stop(start_up: Start) -> None:
    up = start_up("--only", SERVICES, "--ports", "auto", "--executors", "2", "--command-apis", "2")
    ready = up.ready()
    assert set(ready) >= {"command_url", "query_url", "kafka", "mongodb", "topics", "data", "pids"}
    assert set(ready["topics"]) >= {"jobs", "models"}
    assert isinstance(ready["pids"]["query-api"], int)
    assert len(ready["pids"]["executor"]) == len(ready["pids"]["command-api"]) == len(ready["command_urls"]) == 2
    pids = all_pids(ready)
    assert all(runs(pid) for pid in pids)
    assert up.stop() == 0
    assert not up.ready_file.exists()
    assert not any(runs(pid) for pid in pids)


def test_sigkill_leaves_nothing_running_not_even_workers_of_a_child(start_up: Start) -> None:
    up = start_up("--only", SERVICES, "--ports", "auto", STUBS='{"query-api": "brood"}')
    ready = up.ready()
    worker = int((Path(str(ready["data"])) / "query-api-1" / "worker.pid").read_text())
    pids = [*all_pids(ready), worker]
    assert all(runs(pid) for pid in pids)
    up.process.kill()
    eventually("all children dead", lambda: not any(runs(pid) for pid in pids))


def test_stops_in_order(start_up: Start) -> None:
    up = start_up("--only", SERVICES, "--ports", "auto")
    up.ready()
    assert up.stop() == 0
    order = [line.split()[0] for line in up.output().splitlines() if line.endswith("stopped")]
    assert set(order[:2]) == {"command-api", "executor"}
    assert set(order[2:]) == {"query-api", "projector"}


def test_dead_part_is_started_again_and_ready_file_kept_true(start_up: Start) -> None:
    up = start_up("--only", SERVICES, "--ports", "auto")
    before = up.ready()["pids"]
    os.kill(before["executor"], signal.SIGKILL)
    up.wait_for("executor was killed by signal 9; starting it again")
    eventually("new pid", lambda: up.ready()["pids"]["executor"] != before["executor"])
    after = up.ready()["pids"]
    assert runs(after["executor"])
    assert {**after, "executor": 0} == {**before, "executor": 0}


def test_no_restart_leaves_it_dead(start_up: Start) -> None:
    up = start_up("--only", SERVICES, "--ports", "auto", "--no-restart")
    executor = up.ready()["pids"]["executor"]
    os.kill(executor, signal.SIGKILL)
    up.wait_for("executor was killed by signal 9; it is left dead")
    assert up.stop() == 0
    assert "starting it again" not in up.output()


def test_failing_part_shows_the_end_of_its_log(start_up: Start) -> None:
    up = start_up("--only", SERVICES, "--ports", "auto", STUBS='{"projector": "fail"}')
    assert up.ended() == 1
    assert "projector ended with 3 before it was ready" in up.output()
    assert "the reason why it cannot start" in up.output()
    assert not up.ready_file.exists()


def test_port_in_use_is_named(start_up: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = start_up("--only", "query-api", DARKROOM_QUERY_PORT=str(port))
        assert up.ended() == 1
    assert f"port {port} (query-api) is in use" in up.output()


def test_second_start_on_a_used_folder_is_refused(start_up: Start) -> None:
    first = start_up("--only", "query-api", "--ports", "auto")
    first.ready()
    second = start_up("--only", "query-api", "--ports", "auto")
    assert second.ended() == 1
    assert f"in use by another `darkroom up` (pid {first.process.pid})" in second.output()
    assert first.ready_file.exists()
