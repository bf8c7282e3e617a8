"""The Celery side of the comparison: one task whose arguments are what a command's body holds. Nothing runs it."""

import os

from celery import Celery

app = Celery("peer", broker=os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0"))
app.conf.update(
    task_ignore_result=True,
    # Not fewer connections than threads: the pool's default of ten would be the bottleneck.
    broker_pool_limit=int(os.environ.get("BENCH_CONNECTIONS", "64")),
)


@app.task(name="peer.infer")
def infer(body: dict[str, object]) -> None:
    """Never executed: only the sending is measured."""
