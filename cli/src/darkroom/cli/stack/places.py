"""Where things are kept on this machine, by the XDG base directory specification."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """What can be fetched again, shared by all checkouts: Kafka's jars."""
    return _base("XDG_CACHE_HOME", ".cache")


def data_folder() -> Path:
    """What `darkroom up` keeps unless told otherwise."""
    return _base("XDG_DATA_HOME", ".local/share") / "stack"


def last_ready_file() -> Path:
    """The ready file of this user's last `darkroom up`."""
    return _base("XDG_STATE_HOME", ".local/state") / "ready.json"


def _base(variable: str, fallback: str) -> Path:
    given = os.environ.get(variable, "")
    # The specification: a relative path is invalid and is to be ignored.
    base = Path(given) if os.path.isabs(given) else Path.home() / fallback
    return base / "darkroom"
