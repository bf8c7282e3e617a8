"""The child's side: how a process that was spawned for a piece of work begins."""

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys
import warnings
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def parser() -> argparse.ArgumentParser:
    """A parser of the arguments that every child is given by ``Spawned``; add those of the work."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--socket", type=int, required=True, help="descriptor of the socket to the parent")
    arguments.add_argument("--parent", type=int, required=True, help="its process id")
    return arguments


def begin(options: argparse.Namespace) -> socket.socket:
    """The socket to the parent, with whom this process now dies."""
    _die_with(options.parent)
    warnings.simplefilter("ignore")  # of no use to anybody from here
    return socket.socket(fileno=options.socket)


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent goes: a child in an endless loop would never notice."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it went before we asked
        sys.exit(0)
    with contextlib.suppress(OSError):  # when memory runs out, the child goes before the service that started it
        Path("/proc/self/oom_score_adj").write_text("1000")
