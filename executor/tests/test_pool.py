"""A child that fails in every way there is: the outcome is as named, the parent lives, the next run works."""

import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from darkroom.executor.childprocess import ChildProcess, child_command
from darkroom.executor.digests import sha256_of
from darkroom.executor.outcomes import (
    Crashed,
    DeadlineExceeded,
    ModelRefused,
    Outcome,
    Picture,
    RunRequest,
    Stopped,
    Succeeded,
)
from darkroom.executor.pool import ChildPool, PoolBusy

LABELS = b'["no","yes"]'
COMMAND = [
    sys.executable,
    str(Path(__file__).with_name("faulty_child.py")),
    "--threads",
    "1",
    "--pixels-max",
    "100",
]
PATIENCE_S = 20.0


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(buffer, "PNG")
    return buffer.getvalue()


class Faults:
    """Makes requests whose model has a fault, and hears when such a model runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fifo = folder / "running"
        os.mkfifo(self.fifo)
        self._heard = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)
        (folder / "labels.json").write_bytes(LABELS)

    def request(self, fault: str, key: str = "run", announce: bool = False, **changes: Any) -> RunRequest:
        content = f"{fault} {self.fifo}".encode() if announce else fault.encode()
        path = self.folder / sha256_of(content)
        path.write_bytes(content)
        model = {
            "name": "faulty",
            "version": "1",
            "kind": "classification",
            "runtime": "litert",
            "artifact": {"digest": sha256_of(content), "format": "tflite"},
            "input": {"width_px": 2, "height_px": 2, "dtype": "uint8"},
            "output": {"format": "scores"},
            "labels": {"digest": sha256_of(LABELS)},
        }
        inputs = (Picture("", picture()),)
        return RunRequest(key, model | changes, path, self.folder / "labels.json", inputs, {})

    def wait_until_running(self) -> int:
        """The child's process id, once its model runs."""
        ready, _, _ = select.select([self._heard], [], [], PATIENCE_S)
        assert ready, "the model never ran"
        return int(os.read(self._heard, 100))

    def close(self) -> None:
        os.close(self._heard)


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Faults]:
    faults = Faults(tmp_path)
    yield faults
    faults.close()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[ChildProcess]:
    (tmp_path / "scratch").mkdir()
    child = ChildProcess(COMMAND, tmp_path / "scratch")
    yield child
    child.close()
    assert not any((tmp_path / "scratch").iterdir()), "a child's folder was left behind"


class Later:
    """An outcome that is being waited for in a thread."""

    def __init__(self, run: Callable[[], Outcome]) -> None:
        self._outcome: Outcome | Exception | None = None
        self._thread = threading.Thread(target=self._work, args=(run,), daemon=True)
        self._thread.start()

    def _work(self, run: Callable[[], Outcome]) -> None:
        try:
            self._outcome = run()
        except Exception as error:
            self._outcome = error

    def get(self) -> Outcome | Exception | None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the run never ended"
        return self._outcome


def test_every_crash_is_named_and_the_next_run_works(child: ChildProcess, faults: Faults) -> None:
    cases = {
        "segfault": (signal.SIGSEGV, "by signal 11"),
        "abort": (signal.SIGABRT, "by signal 6"),
        "exit": (None, "with exit status 3"),
        "raise": (None, "ZeroDivisionError: a bug in the runtime"),
        "memory": (None, "MemoryError: no more"),
        "crash-on-load": (signal.SIGABRT, "by signal 6"),
        "nonsense": (signal.SIGKILL, "spoke nonsense"),
        "huge-answer": (signal.SIGKILL, "spoke nonsense"),
    }
    for fault, (exit_signal, words) in cases.items():
        outcome = child.run(faults.request(fault), PATIENCE_S)
        assert isinstance(outcome, Crashed), (fault, outcome)
        assert outcome.exit_signal == exit_signal, (fault, outcome)
        assert words in outcome.detail, (fault, outcome)
    assert_works(child, faults)


def test_rubbish_on_stdout_harms_nothing(child: ChildProcess, faults: Faults) -> None:
    for _ in range(2):
        assert isinstance(child.run(faults.request("rubbish"), PATIENCE_S), Succeeded)


def test_a_refusal_and_a_score_that_is_no_number_leave_the_child_alive(child: ChildProcess, faults: Faults) -> None:
    assert_works(child, faults)
    pid = child.pid
    refused = child.run(faults.request("refuse"), PATIENCE_S)
    assert isinstance(refused, ModelRefused)
    assert refused.problem.detail == "it will never do"
    not_a_number = child.run(faults.request("nan"), PATIENCE_S)
    assert isinstance(not_a_number, ModelRefused)
    assert not_a_number.problem.type.endswith(":model-invalid")
    incomplete = child.run(faults.request("fine", kind="poetry"), PATIENCE_S)
    assert isinstance(incomplete, ModelRefused)
    assert "poetry" in incomplete.problem.detail
    assert child.pid == pid
    assert_works(child, faults)


@pytest.mark.parametrize("fault", ["loop", "hang-with-gil", "ignore-signals"])
def test_a_run_without_end_is_killed_at_its_deadline(child: ChildProcess, faults: Faults, fault: str) -> None:
    child.start()
    started = time.monotonic()
    outcome = child.run(faults.request(fault, announce=True), 0.5)
    assert outcome == DeadlineExceeded(0.5)
    assert 0.5 <= time.monotonic() - started < 5.0
    assert_gone(faults.wait_until_running())
    assert_works(child, faults)


def test_stop_ends_the_named_run_at_once_and_no_other(child: ChildProcess, faults: Faults) -> None:
    later = Later(lambda: child.run(faults.request("loop", key="mine", announce=True), 60.0))
    pid = faults.wait_until_running()
    assert not child.stop("another")
    assert child.stop("mine")
    assert later.get() == Stopped()
    assert_gone(pid)
    assert not child.stop("mine")
    assert_works(child, faults)


def test_close_ends_a_run_and_refuses_later_ones(child: ChildProcess, faults: Faults) -> None:
    later = Later(lambda: child.run(faults.request("loop", announce=True), 60.0))
    pid = faults.wait_until_running()
    child.close()
    assert later.get() == Stopped()
    assert_gone(pid)
    assert child.run(faults.request("fine"), 5.0) == Stopped()


def test_a_child_killed_between_runs_is_no_runs_fault(child: ChildProcess, faults: Faults) -> None:
    assert_works(child, faults)
    pid = child.pid
    assert pid is not None
    with_end = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([with_end], [], [], PATIENCE_S)[0]
    os.close(with_end)
    assert_works(child, faults)
    assert child.pid != pid


def test_a_child_outlives_the_thread_that_asked_for_it(child: ChildProcess, faults: Faults) -> None:
    assert isinstance(Later(lambda: child.run(faults.request("fine"), PATIENCE_S)).get(), Succeeded)
    pid = child.pid
    assert_works(child, faults)
    assert child.pid == pid


def test_a_child_dies_with_its_parent_even_in_an_endless_loop(faults: Faults, tmp_path: Path) -> None:
    request = faults.request("hang-with-gil", announce=True)
    (tmp_path / "picture").write_bytes(picture())
    given = {
        "model": request.model,
        "artifact": str(request.artifact_path),
        "labels": str(request.labels_path),
        "picture": str(tmp_path / "picture"),
        "command": COMMAND,
        "scratch": str(tmp_path),
    }
    parent = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("orphan_parent.py")), json.dumps(given)]
    )
    try:
        pid = faults.wait_until_running()
        end = os.pidfd_open(pid)
    finally:
        parent.kill()
        parent.wait(PATIENCE_S)
    assert select.select([end], [], [], PATIENCE_S)[0], "the child outlived its parent"
    os.close(end)


def test_a_child_that_cannot_start_is_a_crash(faults: Faults, tmp_path: Path) -> None:
    for command, words in [
        ([sys.executable, "-c", "import nothing_of_that_name"], "No module named"),
        ([str(tmp_path / "no-such-program")], "cannot be started"),
    ]:
        outcome = ChildProcess(command, tmp_path).run(faults.request("fine"), 5.0)
        assert isinstance(outcome, Crashed)
        assert words in outcome.detail
    silent = ChildProcess([sys.executable, "-c", "import signal; signal.pause()"], tmp_path, start_timeout_s=0.3)
    outcome = silent.run(faults.request("fine"), 5.0)
    assert isinstance(outcome, Crashed)
    assert "not ready after 0.3 s" in outcome.detail


def test_files_that_are_not_the_registered_ones_are_refused(child: ChildProcess, faults: Faults) -> None:
    for path_name in ("artifact_path", "labels_path"):
        request = faults.request(f"fine {path_name}")
        other = {"artifact": {"digest": "sha256:" + "0" * 64, "format": "tflite"}}
        labels = {"labels": {"digest": "sha256:" + "1" * 64}}
        changed = other if path_name == "artifact_path" else labels
        outcome = child.run(faults.request(f"fine {path_name}", **changed), PATIENCE_S)
        assert isinstance(outcome, ModelRefused), outcome
        assert outcome.problem.type == "urn:darkroom:problem:model-digest-mismatch"
        assert isinstance(child.run(request, PATIENCE_S), Succeeded)


def test_a_pool_gives_each_run_a_child_of_its_own_and_bounds_the_wait(faults: Faults, tmp_path: Path) -> None:
    pool = ChildPool({"litert": [ChildProcess(COMMAND, tmp_path)], "tf-savedmodel": []})
    first = Later(lambda: pool.run(faults.request("loop", key="first", announce=True), 60.0))
    faults.wait_until_running()
    with pytest.raises(PoolBusy):
        pool.run(faults.request("fine", key="impatient"), 60.0, wait_s=0.05)
    waits = Later(lambda: pool.run(faults.request("fine", key="waits"), 60.0))
    stopped = Later(lambda: pool.run(faults.request("fine", key="stopped"), 60.0))
    until = time.monotonic() + PATIENCE_S
    while not pool.stop("stopped"):  # until it waits in the pool's queue
        assert time.monotonic() < until
    assert stopped.get() == Stopped()
    already = threading.Event()
    already.set()
    assert pool.run(faults.request("fine", key="early"), 60.0, stop=already) == Stopped()
    assert pool.stop("first")
    assert first.get() == Stopped()
    assert isinstance(waits.get(), Succeeded)
    with pytest.raises(ValueError, match="runtime"):
        pool.run(faults.request("fine", runtime="onnx"), 1.0)
    last = Later(lambda: pool.run(faults.request("loop", key="last", announce=True), 60.0))
    pid = faults.wait_until_running()
    pool.close()
    assert last.get() == Stopped()
    assert_gone(pid)
    assert pool.run(faults.request("fine", key="late"), 1.0) == Stopped()


def test_a_litert_child_has_no_tensorflow_and_none_of_the_services_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_S3_SECRET_KEY", "for the parent alone")
    child = ChildProcess(child_command("litert"), tmp_path)
    child.start()
    maps = Path(f"/proc/{child.pid}/maps").read_text()
    assert "ai_edge_litert" in maps
    assert "/tensorflow/" not in maps
    assert b"DARKROOM" not in Path(f"/proc/{child.pid}/environ").read_bytes()
    child.close()


def assert_works(child: ChildProcess, faults: Faults) -> None:
    outcome = child.run(faults.request("fine"), PATIENCE_S)
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.results[0]["classes"][0] == {"index": 1, "label": "yes", "score": 0.75}


def assert_gone(pid: int) -> None:
    with pytest.raises(ProcessLookupError):  # reaped, too: a zombie would still be found
        os.kill(pid, 0)
