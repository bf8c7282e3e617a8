"""What a child needs of a model runtime; each runtime has a module of its own (litert, tfhub)."""

from pathlib import Path
from typing import Protocol

from darkroom.executor.tensors import LoadedModel


class ModelRuntime(Protocol):
    """One way to run models."""

    @property
    def name(self) -> str:
        """As in a description's ``runtime``."""
        ...

    @property
    def models_max(self) -> int:
        """How many loaded models a child keeps."""
        ...

    def load(self, content: bytes, scratch: Path) -> LoadedModel:
        """Load from verified bytes; ``scratch`` is an empty folder. Raises ModelError when it cannot ever."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of what computes here, for provenance."""
        ...
