"""Consume, parse, fold: what reading the log costs with nothing around it, and no result but dicts in memory.

python -m read_side.bare BOOTSTRAP TOPIC PARTITION=STOP …
"""

import gc
import sys

import orjson

from read_side.consuming import messages
from read_side.figures import Watch
from read_side.minimal import Job, fold


def main() -> None:
    bootstrap, topic, *wanted = sys.argv[1:]
    stops = {int(p): int(stop) for p, _, stop in (pair.partition("=") for pair in wanted)}
    gc.freeze()
    gc.set_threshold(50_000)  # as the product does
    jobs: dict[str, Job] = {}
    events = 0
    watch = Watch()
    for found in messages(bootstrap, topic, stops):
        for message in found:
            value, partition, offset = message.value(), message.partition(), message.offset()
            assert value is not None
            assert partition is not None
            assert offset is not None
            event = orjson.loads(value)
            key = event["subject"]
            jobs[key] = fold(jobs.get(key), event, partition, offset)
        events += len(found)
    watch.share(events, jobs=len(jobs)).tell()


if __name__ == "__main__":
    main()
