"""Celery's `.delay()` from N threads, without HTTP.

BENCH_REDIS=redis://… python -m command_path.celery_threads BODY_FILE THREADS SECONDS
"""

import json
import sys
from pathlib import Path

from command_path.tasks import infer
from command_path.threads import from_threads


def main() -> None:
    body = json.loads(Path(sys.argv[1]).read_bytes())
    from_threads(lambda: infer.delay(body), int(sys.argv[2]), float(sys.argv[3])).tell()


if __name__ == "__main__":
    main()
