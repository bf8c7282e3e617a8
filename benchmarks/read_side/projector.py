"""The product's projector, which waits with its partitions in hand until it is told to begin.

    DARKROOM_…=… python -m read_side.projector READ_MODELS FOLDER --group GROUP

It differs from `python -m darkroom.projector` in two things: the read models may be fewer, and the loop of jobs
starts to project only when FOLDER/go exists. Until then it says in FOLDER/assigned.PID how many partitions it has;
afterwards FOLDER/begun.PID holds the moment at which it began.
"""

import os
import sys
from pathlib import Path
from time import monotonic

from darkroom.projector import __main__ as projector
from darkroom.projector.live import Live
from read_side.families import family

_wanted = family(sys.argv.pop(1))
_folder = Path(sys.argv.pop(1))


class Waiting(Live):
    """Takes up its partitions when it is told to."""

    def _start(self, assigned: frozenset[int]) -> None:
        if self._family.name == "jobs":
            if not (_folder / "go").exists():
                (_folder / f"assigned.{os.getpid()}").write_text(str(len(assigned)))
                return
            begun = _folder / f"begun.{os.getpid()}"
            if not begun.exists():
                begun.write_text(str(monotonic()))
        super()._start(assigned)


vars(projector).update(JOBS=_wanted, Live=Waiting)

if __name__ == "__main__":
    sys.exit(projector.main())
