"""Decoding processes, and the bounded row of those who wait for one to be free."""

import logging
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from darkroom.runtime.child.asked import AskedChild, Ended, Stopped
from darkroom.schemas.errors import BadMedia, Unavailable

_log = logging.getLogger("darkroom.decoding")
_START_TIMEOUT_S = 10.0
_KILLED = frozenset({signal.SIGKILL, signal.SIGTERM})
_BUSY = "Too many pictures wait to be decoded."


class TooLong(Exception):
    """The picture takes more time to decode than this lane gives to one."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a lane gives to one picture. `cpu_s`: processor time; `wall_s`: time by the clock, which only a busy
    machine makes longer; `memory_bytes_max`: address space of the process; `effort_pixels_max`: what the header may
    promise (see `look`)."""

    pixels_max: int
    cpu_s: float
    wall_s: float
    memory_bytes_max: int
    nice: int
    effort_pixels_max: int | None = None

    def command(self) -> list[str]:
        """The command line of a child."""
        said = {
            "--nice": self.nice,
            "--cpu-s": self.cpu_s,
            "--memory-bytes-max": self.memory_bytes_max,
            "--pixels-max": self.pixels_max,
            "--effort-pixels-max": self.effort_pixels_max,
        }
        arguments = [str(part) for pair in said.items() if pair[1] is not None for part in pair]
        return [sys.executable, "-P", "-m", "darkroom.runtime.decoding.child", *arguments]


class Lane:
    """Some children that decode one picture at a time each; at most `waiting_max` callers wait for them."""

    def __init__(self, terms: Terms, children: int, waiting_max: int) -> None:
        self._terms = terms
        self._waiting_max = waiting_max
        self._children: Sequence[AskedChild] = [
            AskedChild(terms.command(), start_timeout_s=_START_TIMEOUT_S) for _ in range(children)
        ]
        self._changed = threading.Condition()  # guards what follows
        self._free = list(self._children)
        self._row: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many callers wait for a child."""
        return len(self._row)

    def pids(self) -> list[int]:
        """Of the children that live."""
        return [pid for child in self._children if (pid := child.pid) is not None]

    def look(self, data: bytes, kind: str, until: float) -> tuple[int, int]:
        """Width and height of the upright picture. `until`: when, by the monotonic clock, to give up waiting for a
        child. Raises BadMedia, TooLong, Unavailable."""
        with self._taken(until) as child:
            try:
                return child.ask("picture", {"kind": kind}, [data], self._terms.wall_s, _size_px)
            except TimeoutError:
                raise Unavailable("The picture could not be decoded in time.") from None
            except Stopped:
                raise Unavailable("The service is being stopped.") from None
            except Ended as ended:
                raise self._meaning(ended) from None

    def close(self) -> None:
        """Ends the children; whoever is being served or waits is told so."""
        for child in self._children:
            child.close()

    @contextmanager
    def _taken(self, until: float) -> Iterator[AskedChild]:
        with self._changed:
            if self._row or not self._free:
                self._wait_in_row(until)
            child = self._free.pop()
        try:
            yield child
        finally:
            with self._changed:
                self._free.append(child)
                self._changed.notify_all()

    def _wait_in_row(self, until: float) -> None:
        """Until a child is free and all who came before are served. The lock is held."""
        if len(self._row) >= self._waiting_max:
            raise Unavailable(_BUSY)
        place = object()
        self._row.append(place)
        try:
            if not self._changed.wait_for(
                lambda: self._free and self._row[0] is place, max(0.0, until - monotonic())
            ):
                raise Unavailable(_BUSY)
        finally:
            self._row.remove(place)
            self._changed.notify_all()

    def _meaning(self, ended: Ended) -> Exception:
        """Of a child's end. What it wrote before is logged only if it had not seen a picture yet."""
        if not ended.begun:
            _log.error("the picture decoder does not start: %s", ended.detail)
            return Unavailable("The picture decoder does not start.")
        if ended.exit_signal == signal.SIGPROF:
            return TooLong()
        _log.warning("the picture decoder ended at a picture, signal %s", ended.exit_signal)
        if ended.exit_signal in _KILLED:  # by somebody else, or for want of memory: it says nothing of the picture
            return Unavailable("The picture decoder was ended.")
        return BadMedia("picture-broken", "The picture made its decoder fail.")


def _size_px(answer: dict[str, Any]) -> tuple[int, int]:
    if "refused" in answer:
        problem, detail = answer["refused"]
        raise BadMedia(problem, detail)
    if "too_much_effort" in answer:
        raise TooLong
    width_px, height_px = answer["size_px"]
    return width_px, height_px
