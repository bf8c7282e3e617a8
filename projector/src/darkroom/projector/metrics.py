"""What an operator sees of a projector, at /metrics."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("darkroom_projector_events_total", "Events folded into the read models", ["topic"])
VOID = Counter("darkroom_projector_void_events_total", "Events that lost a race", ["topic"])
QUARANTINED = Counter("darkroom_projector_quarantined_total", "Records that no fold could read", ["topic"])
RESTARTED = Counter(
    "darkroom_projector_restarts_total", "Batches given up and read again from the checkpoint", ["topic", "reason"]
)
TRANSACTION_S = Histogram(
    "darkroom_projector_transaction_seconds",
    "Fold, write and commit of one batch",
    ["topic"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
)
LAG_EVENTS = Gauge(
    "darkroom_projector_lag_events", "End of the partition less the checkpoint", ["topic", "partition"]
)
