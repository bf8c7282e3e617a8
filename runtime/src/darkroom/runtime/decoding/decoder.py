"""Decodes strangers' pictures in child processes, so that none of them can stall or crash the service.

Two lanes. The quick one reads headers and decodes what is small; what takes it too long it passes on to the patient
one, whose processes run at a lower priority. So a row of pictures that take seconds each holds up no other.
"""

from time import monotonic

from prometheus_client import Counter

from darkroom.runtime.decoding.lane import Lane, Terms, TooLong
from darkroom.schemas.errors import BadMedia, Unavailable

_QUICK_SIZE_BYTES_MAX = 2**20
_QUICK_EFFORT_PIXELS_MAX = 2_500_000
_NICE_PATIENT = 10
_MEMORY_BYTES = 256 * 2**20
"""Of an idle process, with room to spare."""
_MEMORY_BYTES_PER_PIXEL = 20
"""Measured: 4.3 for PNG, 6 to 9 for progressive JPEG, 16.3 for WebP, whose decoder keeps three canvases."""

PICTURES = Counter("darkroom_pictures_total", "Pictures that were to be decoded", ["outcome"])


class PictureDecoder:
    """Finds out what pictures are. Its processes start with the first picture, and again after they ended."""

    def __init__(
        self,
        *,
        pixels_max: int,
        size_bytes_max: int,
        cpu_s: float = 5.0,
        quick_cpu_s: float = 0.5,
        wait_s: float = 5.0,
        processes: int = 1,
        waiting_max: int = 8,
    ) -> None:
        """`cpu_s`: processor time that one picture may take; `quick_cpu_s`: after it the quick lane passes one on.
        `wait_s`: how long one waits for a process to be free.
        `processes`: of the patient lane. `waiting_max`: how many callers may wait there; in the quick lane, where a
        picture takes milliseconds, twice as many."""
        self._cpu_s, self._wait_s = cpu_s, wait_s
        memory_bytes_max = _MEMORY_BYTES + 3 * size_bytes_max + _MEMORY_BYTES_PER_PIXEL * pixels_max
        quick = Terms(
            pixels_max=pixels_max,
            cpu_s=min(cpu_s, quick_cpu_s),
            wall_s=wait_s,
            memory_bytes_max=memory_bytes_max,
            nice=0,
            effort_pixels_max=_QUICK_EFFORT_PIXELS_MAX,
        )
        patient = Terms(
            pixels_max=pixels_max,
            cpu_s=cpu_s,
            wall_s=cpu_s + 2 * wait_s,
            memory_bytes_max=memory_bytes_max,
            nice=_NICE_PATIENT,
        )
        self.quick = Lane(quick, 1, 2 * waiting_max)
        self.patient = Lane(patient, processes, waiting_max)

    def look(self, data: bytes, kind: str) -> tuple[int, int]:
        """Width and height in pixels of the upright picture, after decoding it whole. `kind` as `sniff` gives it.

        Raises BadMedia: `picture-broken`, `picture-too-large`, `picture-too-slow`; Unavailable if too many wait, or
        none of the processes was free or done in time.
        """
        try:
            size_px = self._look(data, kind, monotonic() + self._wait_s)
        except BadMedia as error:
            PICTURES.labels(error.problem).inc()
            raise
        except Unavailable:
            PICTURES.labels("too-busy").inc()
            raise
        PICTURES.labels("decoded").inc()
        return size_px

    def close(self) -> None:
        """Ends the processes. Whoever is being served is told Unavailable."""
        self.quick.close()
        self.patient.close()

    def _look(self, data: bytes, kind: str, until: float) -> tuple[int, int]:
        if len(data) <= _QUICK_SIZE_BYTES_MAX:
            try:
                return self.quick.look(data, kind, until)
            except TooLong:
                pass
        try:
            return self.patient.look(data, kind, until)
        except TooLong:
            detail = f"Decoding the picture takes more than {self._cpu_s:g} s of processor time."
            raise BadMedia("picture-too-slow", detail) from None
