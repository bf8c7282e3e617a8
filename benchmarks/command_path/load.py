"""A small HTTP/1.1 load client: one thread, raw keep-alive sockets, one ready-made request.

    python -m command_path.load PORT REQUEST_FILE closed CONNECTIONS SECONDS
    python -m command_path.load PORT REQUEST_FILE open CONNECTIONS SECONDS RATE

Closed: each connection sends its next request as soon as it is answered. Open: requests are due at a fixed rate,
whatever the answers do; latency counts from when a request was due, so that a stall shows. Prints a `Measured`.
"""

import selectors
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

from command_path.measured import Measured

HOST = "127.0.0.1"
_STALL_S = 20.0
_END_OF_HEAD = b"\r\n\r\n"


class LoadError(Exception):
    """An answer that the measurement may not count."""


@dataclass
class Connection:
    """One keep-alive connection with at most one request under way, due at `due_s`."""

    sock: socket.socket
    due_s: float = 0.0
    received: bytes = b""
    refused: bool = False

    def send(self, request: bytes, due_s: float) -> None:
        self.due_s = due_s
        self.received = b""
        self.sock.sendall(request)

    def answered(self) -> bool:
        """Reads what there is. True once the answer is whole. Raises LoadError if it is neither 202 nor 503."""
        data = self.sock.recv(65536)
        if not data:
            raise LoadError("the server closed a connection")
        self.received += data
        head, found, body = self.received.partition(_END_OF_HEAD)
        if not found:
            return False
        at = head.lower().index(b"\r\ncontent-length:") + 17
        if len(body) < int(head[at : at + 8].split(b"\r", 1)[0]):
            return False
        self.refused = head.startswith(b"HTTP/1.1 503 ")
        if not self.refused and not head.startswith(b"HTTP/1.1 202 "):
            raise LoadError(f"not a 202: {self.received[:600]!r}")
        return True


@dataclass
class Load:
    """The connections to one server, the latencies in seconds of what was accepted, and how many were refused for
    lack of room (503), which is an honest answer but no accepted command."""

    request: bytes
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    latencies_s: list[float] = field(default_factory=list)
    refused: int = 0

    def connect(self, port: int, count: int) -> list[Connection]:
        made = []
        for _ in range(count):
            sock = socket.create_connection((HOST, port), _STALL_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.append(Connection(sock))
            self.selector.register(sock, selectors.EVENT_READ, made[-1])
        return made

    def answered(self, timeout_s: float) -> list[Connection]:
        """The connections whose answer has arrived by now, or within the time-out."""
        done = []
        for key, _ in self.selector.select(timeout_s):
            connection: Connection = key.data
            if connection.answered():
                if connection.refused:
                    self.refused += 1
                else:
                    self.latencies_s.append(perf_counter() - connection.due_s)
                done.append(connection)
        return done

    def closed(self, port: int, connections: int, seconds: float) -> None:
        """As fast as it is answered; returns after the last answer."""
        until = perf_counter() + seconds
        under_way = 0
        for connection in self.connect(port, connections):
            connection.send(self.request, perf_counter())
            under_way += 1
        while under_way:
            done = self.answered(_STALL_S)
            if perf_counter() > until + _STALL_S:
                raise LoadError("the server no longer answers")
            for connection in done:
                now = perf_counter()
                if now < until:
                    connection.send(self.request, now)
                else:
                    under_way -= 1

    def open(self, port: int, connections: int, seconds: float, rate: float) -> None:
        """`rate` requests a second. One that finds no free connection waits, and its wait counts."""
        idle = deque(self.connect(port, connections))
        count, sent = int(rate * seconds), 0
        begun = perf_counter() + 0.01
        while len(self.latencies_s) + self.refused < count:
            now = perf_counter()
            while sent < count and idle and begun + sent / rate <= now:
                # The connection used last: as few as possible, and those warm.
                idle.pop().send(self.request, begun + sent / rate)
                sent += 1
            if now > begun + seconds + _STALL_S:
                raise LoadError("the server no longer answers")
            wait_s = begun + sent / rate - perf_counter() if sent < count and idle else _STALL_S
            idle.extend(self.answered(max(0.0, wait_s)))


def main() -> None:
    port, request, mode, connections, seconds = sys.argv[1:6]
    load = Load(Path(request).read_bytes())
    begun, cpu_begun = perf_counter(), process_time()
    if mode == "closed":
        load.closed(int(port), int(connections), float(seconds))
    else:
        load.open(int(port), int(connections), float(seconds), float(sys.argv[6]))
    Measured.of(load.latencies_s, perf_counter() - begun, process_time() - cpu_begun, load.refused).tell()


if __name__ == "__main__":
    main()
