"""A Redis for Celery, if there is one on the PATH."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import HOST, Running, process, wait

from darkroom.cli.stack.ports import free_port


@contextmanager
def redis(folder: Path) -> Iterator[Running | None]:
    """A Redis that keeps nothing on disk; None where there is none to start."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    port = free_port()
    options = ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with process([program, *options], folder / "redis.log", dict(os.environ)) as pid:
        wait(pid, lambda: _connects(port), folder / "redis.log")
        yield Running(pid, port)


def empty(redis: Running) -> None:
    """Removes everything from a Redis: what nobody takes must not fill the memory."""
    with socket.create_connection((HOST, redis.port), 5) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        answer = connection.recv(100)
    assert answer.startswith(b"+OK"), answer


def _connects(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True
