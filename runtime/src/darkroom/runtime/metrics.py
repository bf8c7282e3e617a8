"""What the write side shows to Prometheus beside the requests of HTTP: names and meanings."""

from prometheus_client import Counter, Gauge, Histogram

_SHORT_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

ACKNOWLEDGEMENT = Histogram(
    "darkroom_acknowledgement_seconds",
    "From handing an event to the producer until the broker has acknowledged it",
    buckets=_SHORT_S,
)
VERDICT_WAIT = Histogram(
    "darkroom_verdict_wait_seconds",
    "From an event's acknowledgement until the own tail's verdict on it; 0 where the tail was first",
    buckets=(0.0, *_SHORT_S),
)
FOLDED = Counter("darkroom_tail_events_total", "Events that a tail has folded", ["tail"])
VOID = Counter("darkroom_tail_void_events_total", "Those among them that lost a race: void", ["tail"])
LAG = Gauge("darkroom_tail_lag_events", "Events of the log, as last heard of, that a tail has not folded", ["tail"])
FAILED = Gauge("darkroom_tail_failed", "1 once a tail has stopped for good", ["tail"])
HEADS = Gauge("darkroom_heads", "Jobs that this instance knows, about")
HEADS_SIZE_BYTES = Gauge("darkroom_heads_size_bytes", "Size of this instance's heads file")
