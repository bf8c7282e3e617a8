"""For fault tests: a real broker of their own, to be frozen, killed, starved of room and started again."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.cli.stack.jars import class_path
from darkroom.cli.stack.kafka import Broker, Cluster
from darkroom.cli.stack.ports import free_port
from darkroom.cli.stack.process import Child
from darkroom.cli.stack.readiness import wait_ready
from darkroom.runtime.testing_proxy import Proxy

_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0


class OwnBroker:
    """One broker, kept under `folder`. All methods are for the main thread (its children belong to it)."""

    def __init__(self, folder: Path, *, port: int | None = None, advertised_port: int | None = None) -> None:
        """Does not start it. With `advertised_port`, clients are told to come there: the port of a proxy before
        `port`."""
        self._folder = folder
        self._broker = Broker(1, port or free_port(), free_port(), folder / "kafka", advertised_port)
        self._cluster = Cluster([self._broker], class_path(), quick=True)
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients find it: the proxy, if there is one."""
        return self._cluster.bootstrap

    @property
    def direct(self) -> str:
        """Where it listens itself."""
        return self._broker.address

    @property
    def data(self) -> Path:
        """The folder of its log. It may be made, as a mount or link of the test's own, before the first start."""
        return self._broker.folder / "log"

    @property
    def output(self) -> Path:
        """What it says."""
        return self._folder / "kafka.log"

    @property
    def child(self) -> Child:
        """Its process."""
        assert self._child is not None, "the broker was never started"
        return self._child

    def start(self) -> None:
        """Starts it (again) on its data, and returns when it answers. Raises StackError."""
        self._cluster.format(self._folder)
        self._child = Child("kafka", self._cluster.argv(self._broker), self.output)
        wait_ready(self._child, lambda: self._cluster.probe(self._broker), _START_TIMEOUT_S)

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open, and nothing is answered."""
        os.kill(self.child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.child.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, also of a frozen one."""
        self.child.kill()

    def stop(self) -> None:
        """SIGTERM. Fails the test if it does not end by itself."""
        assert self.child.stop(_STOP_TIMEOUT_S), f"the broker did not stop; see {self.output}"

    def save(self, copy: Path) -> None:
        """A backup of its data; it must have been stopped."""
        shutil.copytree(self.data, copy)

    def restore(self, copy: Path) -> None:
        """Puts a backup in place of its data; it must not run. What came after the backup is lost."""
        shutil.rmtree(self.data)
        shutil.copytree(copy, self.data)


@contextmanager
def own_broker(folder: Path, *, port: int | None = None, advertised_port: int | None = None) -> Iterator[OwnBroker]:
    """A started OwnBroker, killed at the end."""
    broker = OwnBroker(folder, port=port, advertised_port=advertised_port)
    try:
        broker.start()
        yield broker
    finally:
        if broker._child is not None:
            broker.kill()


@contextmanager
def proxied_broker(folder: Path) -> Iterator[tuple[OwnBroker, Proxy]]:
    """A started OwnBroker, and the proxy through which its clients reach it."""
    port = free_port()
    with Proxy(port) as proxy, own_broker(folder, port=port, advertised_port=proxy.port) as broker:
        yield broker, proxy
