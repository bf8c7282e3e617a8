"""All planted faults."""

from darkroom.runtime.modelcheck import faults_heads, faults_steps
from darkroom.runtime.modelcheck.planting import FAULTS, planted

__all__ = ["FAULTS", "faults_heads", "faults_steps", "planted"]
