"""The process that decodes pictures: a loop that answers one question at a time over a socket.

Started by ``lane`` as a fresh interpreter (``-m darkroom.runtime.decoding.child``). It has no secrets to lose, and
takes no more memory and, for each picture, no more processor time than it was told: beyond that it ends, and its
parent sees how.
"""

import importlib
import os
import resource
import signal
from typing import Any

from PIL import Image

from darkroom.runtime.child import frames, inside
from darkroom.runtime.decoding.look import TooMuchEffort, look
from darkroom.schemas.errors import BadMedia


def main() -> None:
    parser = inside.parser()
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--cpu-s", type=float, required=True, help="processor time that one picture may take")
    parser.add_argument("--memory-bytes-max", type=int, required=True, help="address space of this process")
    parser.add_argument("--pixels-max", type=int, required=True)
    parser.add_argument("--effort-pixels-max", type=int, help="beyond it, a picture is for somebody else")
    options = parser.parse_args()
    sock = inside.begin(options)
    os.nice(options.nice)
    for name in ("Bmp", "Gif", "Jpeg", "Png", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")  # before the first picture is timed
    Image.MAX_IMAGE_PIXELS = None  # its limit is a guess, ours is a setting
    resource.setrlimit(resource.RLIMIT_AS, (options.memory_bytes_max, options.memory_bytes_max))
    for nothing in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(nothing, (0, 0))
    forever = frames.Deadline(None)
    try:
        frames.send(sock, {"ready": {}}, [], forever)
        while True:
            question, blobs = frames.receive(sock, forever)
            # SIGPROF ends the process. Time that it spends waiting for a processor does not count: a busy machine
            # is not the picture's fault.
            signal.setitimer(signal.ITIMER_PROF, options.cpu_s)
            answer = _answer(blobs.pop(), question["kind"], options.pixels_max, options.effort_pixels_max)
            signal.setitimer(signal.ITIMER_PROF, 0)
            frames.send(sock, answer, [], forever)
    except frames.Closed:
        return  # the parent has gone or wants no more


def _answer(data: bytes, kind: str, pixels_max: int, effort_pixels_max: int | None) -> dict[str, Any]:
    try:
        return {"size_px": look(data, kind, pixels_max, effort_pixels_max)}
    except TooMuchEffort:
        return {"too_much_effort": True}
    except BadMedia as error:
        return {"refused": [error.problem, error.detail]}


if __name__ == "__main__":
    main()
