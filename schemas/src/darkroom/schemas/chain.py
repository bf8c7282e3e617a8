"""The chain of one aggregate in the log: which of its events count, and which are void.

Kafka has no append with an expected version. A writer therefore states in each event which event it
believes to be the last one (`prev_id`) and which number its own has (`version`), and every fold applies an
event only if both agree with what it has accepted so far. The rule is arithmetic over the guard fields, all
of which stand in Kafka headers: it needs no body, and code written later cannot change an old verdict.
"""

from functools import lru_cache
from typing import NamedTuple
from zlib import crc32


class Guard(NamedTuple):
    """The guard fields of one event, as they stand in the Kafka headers (and again in the event itself).

    `run` and `attempt` let a fold of heads follow a job's status without the body; `version` counts from 1. A named
    tuple, for every reader of the log makes one per record: a frozen dataclass takes four times as long.
    """

    key: str
    event_id: str
    type: str
    version: int
    prev_id: str
    command_id: str
    request_hash: str
    tenant: str
    run: int = 0
    attempt: int = 0


@lru_cache(maxsize=256)
def short_type(event_type: str) -> str:
    """`darkroom.job.execution-started.v1` -> `execution-started`: the type without prefix and version."""
    name = event_type.rsplit(".", 2)
    return name[1] if len(name) == 3 else event_type


OPENING = frozenset({"created", "registered"})
"""Short types that may begin a chain. A chain begins with one of them and with nothing else."""


def accepts(version: int, last_event_id: str, guard: Guard) -> bool:
    """The verdict on one event: does it continue a chain that stands at `version` and `last_event_id`?

    An aggregate without any event stands at version 0 and "". Source of the rule: docs/adr/0002.
    """
    if guard.version != version + 1 or guard.prev_id != last_event_id:
        return False
    return version > 0 or short_type(guard.type) in OPENING


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 modulo the count, which is librdkafka's `consistent` partitioner.

    Every writer states the partition by this rule, so that a command can be decided where its job lives.
    """
    return crc32(key.encode()) % partitions
