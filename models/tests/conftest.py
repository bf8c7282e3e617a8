"""Lets these tests import the training's own package, which is no member of the workspace."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
