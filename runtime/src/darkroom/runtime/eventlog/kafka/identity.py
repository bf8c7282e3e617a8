"""Watches whether a topic is still the one that it was."""

import threading

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from darkroom.runtime.eventlog.kafka.client import client_config, silent
from darkroom.runtime.eventlog.kafka.known import Known

_EVERY_S = 1.0
_ASK_S_MAX = 2.0


class IdentityWatch:
    """Asks for the topic's identity every second, in a thread of its own, once started.

    The client goes on without a word when a topic is deleted and made again under its name, from the same offsets.
    """

    def __init__(self, bootstrap: str, topic: str, topic_id: str, known: Known) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._topic_id = topic_id
        self._known = known
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts it, if it does not run."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kafka-identity", daemon=True)
                self._thread.start()

    def close(self, timeout_s: float) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        admin = AdminClient(silent(client_config(self._bootstrap)))
        while not self._stopping.wait(_EVERY_S):
            try:
                asked = admin.describe_topics(TopicCollection([self._topic]), request_timeout=_ASK_S_MAX)
                found = str(asked[self._topic].result(_ASK_S_MAX + 0.5).topic_id)
            except (KafkaException, TimeoutError):
                continue  # the broker is away, or the topic is: who appends is told by others
            if found != self._topic_id:
                self._known.lose("it was deleted and made again")
                return
