"""Ends what a killed parent left behind: `python -I -S guard.py`, with the parent at the other end of stdin.

The parent-death signal reaches a child, not what that child has started (a web server's workers). So the parent
tells this process of each process group it starts ("+ID") and ends ("-ID"); when the pipe closes, because the
parent has ended in whatever way, the groups that are left are killed.
"""

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it goes when its parent goes, not before
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
