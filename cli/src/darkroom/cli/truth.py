"""The topics of truth of a stack, opened."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from darkroom.cli.connect import Stack
from darkroom.runtime.eventlog.kafka import KafkaLog

TOPICS = ("jobs", "models")
"""A job names a model that was registered before it: who archives both asks for the ends of jobs first."""
_CONNECT_TIMEOUT_S = 10.0
_DELIVERY_TIMEOUT_S = 300.0
"""Longer than a restore waits for an acknowledgement: see archive/restoring.py."""
_RECORD_SIZE_BYTES_MAX = 16 * 2**20
"""What foreign writers have put there is restored too; the broker has the last word."""


@contextmanager
def opened_logs(stack: Stack) -> Iterator[dict[str, KafkaLog]]:
    """The logs by what they are for, closed afterwards. Raises LogUnavailable."""
    with ExitStack() as opened:
        logs = {}
        for name in TOPICS:
            log = KafkaLog(
                stack.kafka,
                stack.topics[name],
                connect_timeout_s=_CONNECT_TIMEOUT_S,
                delivery_timeout_s=_DELIVERY_TIMEOUT_S,
                record_size_bytes_max=_RECORD_SIZE_BYTES_MAX,
            )
            opened.callback(log.close, 1.0)
            logs[name] = log
        yield logs
