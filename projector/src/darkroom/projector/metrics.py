"""What an operator sees of a projector, at /metrics."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_PLACE = ["topic", "partition"]

EVENTS = Counter("darkroom_projector_events_total", "Events folded into the read models", ["topic"])
VOID = Counter("darkroom_projector_void_events_total", "Events that lost a race", ["topic"])
QUARANTINED = Counter(
    "darkroom_projector_records_quarantined_total",
    "Records that no fold could read, since this process began",
    ["topic"],
)
RESTARTED = Counter(
    "darkroom_projector_restarts_total", "Batches given up and read again from the checkpoint", ["topic", "reason"]
)
TRANSACTION_S = Histogram(
    "darkroom_projector_transaction_seconds",
    "Fold, write and commit of one batch",
    ["topic"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
)
CHECKPOINT_OFFSET = Gauge(
    "darkroom_projector_checkpoint_offset", "First offset that the live generation has not folded", _PLACE
)
END_OFFSET = Gauge("darkroom_projector_end_offset", "End of the partition as last seen", _PLACE)
END_SEEN_S = Gauge(
    "darkroom_projector_end_seen_timestamp_seconds", "When the broker last told the end (Unix time)", _PLACE
)
LAG_EVENTS = Gauge("darkroom_projector_lag_events", "End of the partition less the checkpoint", _PLACE)
IN_QUARANTINE = Gauge(
    "darkroom_projector_quarantined",
    "Records of the partition that no fold of the live generation could read",
    _PLACE,
)


def show_checkpoint(topic: str, partition: int, offset: int) -> None:
    """After each batch, and when a partition is taken over: `offset` is the first one not folded."""
    CHECKPOINT_OFFSET.labels(topic, partition).set(offset)


def show_end(topic: str, partition: int, end: int, checkpoint: int, seen_at_s: float) -> None:
    """Each time that the broker has told the end of a partition. `seen_at_s`: when (Unix time)."""
    END_OFFSET.labels(topic, partition).set(end)
    END_SEEN_S.labels(topic, partition).set(seen_at_s)
    LAG_EVENTS.labels(topic, partition).set(max(0, end - checkpoint))


def show_quarantined(topic: str, partition: int, records: int) -> None:
    """How many records of a partition stand in quarantine in the live generation."""
    IN_QUARANTINE.labels(topic, partition).set(records)


def forget(topic: str, partitions: Iterable[int]) -> None:
    """These partitions are somebody else's now: whoever goes on showing them would show the past."""
    for partition in partitions:
        for gauge in (CHECKPOINT_OFFSET, END_OFFSET, END_SEEN_S, LAG_EVENTS, IN_QUARANTINE):
            gauge.remove(topic, str(partition))
