"""Starts the parts layer by layer, keeps them running, and stops them in order. One thread, no shared state."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic

from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.parts import Part
from darkroom.cli.stack.process import Child
from darkroom.cli.stack.readiness import failure

_PAUSE_S = 0.05
_WATCH_S = 0.2
_BACK_OFF_FIRST_S, _BACK_OFF_MAX_S = 0.5, 15.0
_STEADY_S = 30.0
"""A part that ran this long is restarted as quickly as at first."""


class Stopped(Exception):
    """The user asked to stop while the parts were still starting."""


@dataclass
class _Running:
    part: Part
    child: Child
    started: float
    ready: bool = False
    back_off_s: float = _BACK_OFF_FIRST_S
    restart_at: float | None = None
    left_dead: bool = False


class Supervisor:
    """`say` prints a line; `changed` is called when the pids are others than before and all parts are ready."""

    def __init__(
        self,
        logs: Path,
        say: Callable[[str], None],
        changed: Callable[[], None],
        stopping: threading.Event,
        *,
        restart: bool,
    ) -> None:
        self._logs = logs
        self._say = say
        self._changed = changed
        self._stopping = stopping
        self._restart = restart
        self._running: list[_Running] = []

    def pids(self) -> dict[str, int | list[int]]:
        """By kind; a list where there are several of a kind."""
        found: dict[str, list[int]] = {}
        for running in self._running:
            found.setdefault(running.part.kind, []).append(running.child.pid)
        return {kind: pids[0] if len(pids) == 1 else pids for kind, pids in found.items()}

    def start(self, parts: Sequence[Part]) -> None:
        """Starts these parts together and waits for all. Raises StackError with the end of the log of the part that
        failed, Stopped on request."""
        fresh = [self._spawn(part) for part in parts]
        self._running += fresh
        pending = list(fresh)
        while pending:
            if self._stopping.wait(_PAUSE_S):
                raise Stopped
            for running in list(pending):
                child, part = running.child, running.part
                if (code := child.exit_code()) is not None:
                    raise StackError(failure(child, f"ended with {code} before it was ready"))
                if part.probe():
                    self._now_ready(running)
                    pending.remove(running)
                elif monotonic() - running.started > part.start_timeout_s:
                    raise StackError(failure(child, f"was not ready within {part.start_timeout_s:g} s"))

    def watch(self) -> None:
        """Restarts what dies until it is to stop."""
        while not self._stopping.wait(_WATCH_S):
            for running in self._running:
                self._look_after(running)

    def stop(self) -> None:
        """Stops the layers from the last to the first, each part within its time, and kills what does not end."""
        by_layer = sorted(self._running, key=lambda running: -running.part.layer)
        for _, group in groupby(by_layer, key=lambda running: running.part.layer):
            alive = [running for running in group if running.child.exit_code() is None]
            for running in alive:
                running.child.terminate()
            asked = monotonic()
            for running in alive:
                part = running.part
                if running.child.stop(max(0.0, part.stop_timeout_s - (monotonic() - asked))):
                    self._say(f"{part.name} stopped")
                else:
                    self._say(f"{part.name} did not stop within {part.stop_timeout_s:g} s and was killed")
        for running in self._running:
            running.child.kill()  # what a part left behind in its process group
        self._running.clear()

    def _spawn(self, part: Part) -> _Running:
        return _Running(part, Child(part.name, part.argv, self._logs / f"{part.name}.log", part.env), monotonic())

    def _now_ready(self, running: _Running) -> None:
        running.ready = True
        took_s = monotonic() - running.started
        self._say(f"{running.part.name:<14} ready in {took_s:4.1f} s   {running.part.where}".rstrip())

    def _look_after(self, running: _Running) -> None:
        if running.left_dead:
            return
        now = monotonic()
        if running.restart_at is not None:
            if now >= running.restart_at:
                fresh = self._spawn(running.part)
                running.child, running.started, running.restart_at = fresh.child, fresh.started, None
            return
        code = running.child.exit_code()
        if code is not None:
            self._died(running, code, now)
        elif not running.ready and running.part.probe():
            self._now_ready(running)
            if all(other.ready or other.left_dead for other in self._running):
                self._changed()

    def _died(self, running: _Running, code: int, now: float) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        name = running.part.name
        running.child.kill()  # what it left behind in its group must not stand in its successor's way
        if not self._restart:
            running.left_dead = True
            self._say(f"{name} {how}; it is left dead (--no-restart)")
            return
        if running.ready and now - running.started > _STEADY_S:
            running.back_off_s = _BACK_OFF_FIRST_S
        self._say(f"{name} {how}; starting it again in {running.back_off_s:g} s (its log: {running.child.log})")
        running.ready = False
        running.restart_at = now + running.back_off_s
        running.back_off_s = min(_BACK_OFF_MAX_S, running.back_off_s * 2)
