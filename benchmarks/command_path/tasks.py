"""The Celery side of the comparison: one task whose arguments are what a command's body holds. Nothing runs it."""

import os

from celery import Celery

_REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0")
# With a place for results: what a command is accepted for can be read later.
app = Celery("peer", broker=_REDIS, backend=_REDIS)
app.conf.broker_pool_limit = 64  # as many connections as threads: the default of ten would be the bottleneck


@app.task(name="peer.infer")  # type: ignore[untyped-decorator]  # Celery has no types
def infer(body: dict[str, object]) -> None:
    """Never executed: only the sending is measured."""
