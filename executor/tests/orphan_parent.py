"""A parent that starts a hanging run and waits to be killed; a script for test_pool."""

import json
import sys
from pathlib import Path

from darkroom.executor.childprocess import ChildProcess
from darkroom.executor.outcomes import Picture, RunRequest

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    request = RunRequest(
        "orphan",
        given["model"],
        Path(given["artifact"]),
        Path(given["labels"]),
        (Picture("", Path(given["picture"]).read_bytes()),),
        {},
    )
    ChildProcess(given["command"], Path(given["scratch"])).run(request, 60.0)
