"""Becomes another program that dies with its parent: `python -I -S launch.py PARENT_PID PROGRAM ARGUMENT…`.

The parent-death signal belongs to the process that asks for it and outlives exec, so this small program asks for it
and then becomes the real one. It is a file of its own, run with the bare interpreter, because code between fork
and exec of a process with threads may deadlock.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise SystemExit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        raise SystemExit("the parent died before its child was ready to notice")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
