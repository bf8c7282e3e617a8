"""For tests that run `darkroom up` as a process: what it prints and writes, waited for with a deadline."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

DEADLINE_S = 90.0


def eventually(what: str, probe: Callable[[], Any]) -> Any:
    """The first truthy answer of `probe`, or a failed test."""
    until = monotonic() + DEADLINE_S
    pause = threading.Event()
    while not (found := probe()):
        assert monotonic() < until, f"not within {DEADLINE_S:g} s: {what}"
        pause.wait(0.02)
    return found


class Up:
    """A `darkroom up` process: its output so far, its ready file."""

    def __init__(self, folder: Path, program: Sequence[str], *options: str, **env: str) -> None:
        """`program`: the command line up to the options. Data goes to `folder`/data unless these say otherwise."""
        number = len(list(folder.glob("up-*.log")))
        self.ready_file = folder / f"ready-{number}.json"
        self._output = folder / f"up-{number}.log"
        arguments = ["--data", str(folder / "data"), "--ready-file", str(self.ready_file), *options]
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*program, *arguments],
                env={**os.environ, "XDG_STATE_HOME": str(folder / "state"), **env},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str) -> None:
        """Returns when it has printed `text`."""
        eventually(f"{text!r} printed", lambda: text in self.output() or self._over())
        assert text in self.output(), self.output()

    def ready(self) -> dict[str, Any]:
        """The content of its ready file, once there is one."""
        eventually("ready file", lambda: self.ready_file.exists() or self._over())
        assert self.ready_file.exists(), self.output()
        content: dict[str, Any] = json.loads(self.ready_file.read_text())
        return content

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        self.process.terminate()
        return self.ended()

    def _over(self) -> bool:
        return self.process.poll() is not None
