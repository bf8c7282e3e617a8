"""Places where a fault test can kill the process: DARKROOM_FAILPOINT=<name>, or <name>:<n> for the n-th time."""

import os
import signal
from collections import Counter

_wanted, _, _nth = os.environ.get("DARKROOM_FAILPOINT", "").partition(":")
_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Kills this process (SIGKILL, nothing is cleaned up) if the environment asks for it here and now."""
    if _wanted != name:
        return
    _reached[name] += 1
    if _reached[name] == int(_nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)
