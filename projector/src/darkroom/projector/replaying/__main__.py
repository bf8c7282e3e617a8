"""A worker process of a replay: `python -m darkroom.projector.replaying`. It is started by the crew, not by hand.

It is told over its socket what to fold, and says there what it has done; it dies with the replay that started it.
"""

import gc
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from darkroom.projector.checksum import Checksum
from darkroom.projector.projections.families import FAMILIES, Family
from darkroom.projector.replaying.connection import Connection
from darkroom.projector.replaying.crew import GARBAGE_MAX
from darkroom.projector.replaying.pace import Throttle
from darkroom.projector.replaying.partitions import fold_partitions
from darkroom.projector.replaying.tally import Place
from darkroom.projector.store import Store
from darkroom.runtime.child import frames, inside
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.heap import return_large_buffers
from darkroom.schemas.errors import LogUnavailable, StoreUnavailable

_ALIVE_EVERY_S = 2.0
_TASK_S_MAX = 30.0


class Parent:
    """The coordinator, over the socket. Several threads speak, one listens."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self.throttle = Throttle()

    def start(self) -> None:
        """Begins to listen, and to say now and then that this process is alive."""
        threading.Thread(target=self._listen, name="listening", daemon=True).start()
        threading.Thread(target=self._live, name="alive", daemon=True).start()

    def say(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        self._connection.say(message, blobs)

    def wanted(self) -> Iterator[tuple[int, int]]:
        """The partitions to fold, each asked for when there is time for it."""
        while True:
            self.say({"free": True})
            if (work := self._answers.get()) is None:
                return
            yield work

    def folded(self, events: int) -> None:
        self.say({"folded": events})

    def block(self, place: Place, block: bytes) -> None:
        self.say({"block": list(place)}, [block])

    def finished(self, partition: int, sums: dict[str, Checksum]) -> None:
        said = {read_model: [found.count, f"{found.total:x}"] for read_model, found in sums.items()}
        self.say({"finished": partition, "sums": said})

    def _listen(self) -> None:
        # The end of the socket is the end of the coordinator, with whom this process dies.
        while True:
            try:
                said, _ = self._connection.hear()
            except (frames.Closed, frames.FrameError, TimeoutError):
                os._exit(1)
            if "rate" in said:
                self.throttle.set_rate(said["rate"])
            else:
                self._answers.put(tuple(said["fold"]) if said["fold"] else None)

    def _live(self) -> None:
        with suppress(frames.Closed, TimeoutError):
            while not threading.Event().wait(_ALIVE_EVERY_S):
                self.say({"alive": True})


def work(parent: Parent, task: dict[str, Any]) -> None:
    """Does what it is told until there is no more."""
    with ExitStack() as opened:
        log = KafkaLog(task["kafka"], task["topic"], connect_timeout_s=task["connect_timeout_s"])
        opened.callback(log.close, 1.0)
        if log.topic_id != task["topic_id"]:
            raise ValueError(f"topic {task['topic']} has been made anew while it was replayed: start again")
        into = None
        if task["generation"] is not None:
            store = Store(task["mongodb"], task["database"])
            opened.callback(store.close)
            into = (store, task["generation"])
        family, memory = _family(task["family"], task["read_models"]), task["memory_size_bytes"]
        fold_partitions(log, task["topic"], family, parent.wanted(), into, memory, parent.throttle, parent)


def _family(name: str, read_models: Sequence[str]) -> Family:
    family = next(f for f in FAMILIES if f.name == name)
    return family if list(family.read_models) == read_models else family.only(*read_models)


def main() -> int:
    """Returns the exit code."""
    connection = Connection(inside.begin(inside.parser().parse_args()))
    task, _ = connection.hear(_TASK_S_MAX)
    parent = Parent(connection)
    parent.start()
    return_large_buffers()
    gc.freeze()
    gc.set_threshold(GARBAGE_MAX)
    try:
        work(parent, task)
        parent.say({"done": True})
    except (LogUnavailable, StoreUnavailable, ValueError) as error:
        parent.say({"failed": type(error).__name__, "text": str(error)})
    except BaseException as error:
        words = "".join(traceback.format_exception(error, limit=-5))
        parent.say({"failed": type(error).__name__, "text": f"a worker of the replay has failed:\n{words}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
