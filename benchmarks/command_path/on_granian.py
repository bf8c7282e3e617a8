"""The same doors under granian: one worker process, as many blocking threads as the product's server has."""

import os

from flask import Flask
from granian.constants import Interfaces
from granian.server import Server

from darkroom.runtime.settings import Settings, read_settings
from darkroom.runtime.telemetry import configure_logging

_DOOR = "BENCH_DOOR"


def serve_on_granian(name: str, settings: Settings) -> None:
    """Serves until SIGTERM."""
    os.environ[_DOOR] = name
    Server(
        "command_path.on_granian:make",
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


def make() -> Flask:
    """The app, made in granian's worker."""
    from command_path.server import door

    configure_logging(read_settings().log, "command-api")
    return door(os.environ[_DOOR])
