"""What this process knows of a topic, and the proof that it is no longer the same log."""

import threading
from collections import defaultdict

from darkroom.runtime.eventlog.kafka.client import log
from darkroom.schemas.errors import LogUnavailable


class Known:
    """How far each partition is known to reach. Offsets only grow: a record that lands where another one stood
    proves that the log was cut, or that its topic was deleted and made again. From then on nothing that was folded
    can be believed, so every call on this log fails, and so does every reader: the process has to start anew."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._lock = threading.Lock()
        self._ends: defaultdict[int, int] = defaultdict(int)
        self._lost: str | None = None

    def end(self, partition: int) -> int:
        """The lowest offset that the partition's next record can have, as far as is known now."""
        return self._ends[partition]

    def reached(self, partition: int, offset: int) -> None:
        """A record stands at that offset."""
        with self._lock:
            self._ends[partition] = max(self._ends[partition], offset + 1)

    def landed(self, partition: int, offset: int, known_before: int) -> None:
        """A record that was sent when the partition was known to reach up to `known_before` landed at that offset.
        Raises LogUnavailable."""
        if offset < known_before:
            self.lose(f"an event landed at offset {offset} of partition {partition}, where another one stood")
            self.check()
        self.reached(partition, offset)

    def lose(self, why: str) -> None:
        with self._lock:
            if self._lost is None:
                self._lost = f"{self._topic} is not the log that it was: {why}"
                log.error(self._lost)

    def check(self) -> None:
        """Raises LogUnavailable if the log was lost."""
        if self._lost is not None:
            raise LogUnavailable(self._lost)
