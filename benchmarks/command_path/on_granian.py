"""The same doors under granian: one worker process, as many blocking threads as the product's server has."""

import os

from granian.constants import Interfaces
from granian.server import Server

from darkroom.runtime.settings import Settings

DOOR = "BENCH_DOOR"


def serve_on_granian(name: str, settings: Settings) -> None:
    """Serves until SIGTERM."""
    os.environ[DOOR] = name
    Server(
        "command_path.server:made_for_granian",
        address=settings.bind,
        port=settings.command_port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.http_threads,
        backpressure=4 * settings.http_threads,
        websockets=False,
        factory=True,
        log_access=False,
    ).serve()
