"""For fault tests: a TCP proxy in front of a server, which loses, holds and cuts what passes.

It knows the frames of Kafka's protocol (a size, then for requests the API's number and a correlation number), so
that it can be told to lose the answers of `PRODUCE` alone, or to hold back those of `FETCH`. A broker behind it
must advertise the proxy's port, or its clients go around it. With `frames=False` it passes bytes of any protocol.
"""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from typing import Any

_HOST = "127.0.0.1"
_CHUNK_SIZE_BYTES = 65_536
_FRAME_SIZE_BYTES_MAX = 64 * 2**20
_CONNECT_TIMEOUT_S = 5.0


class Api(IntEnum):
    """Numbers of Kafka's requests, those that tests speak of."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3


class Proxy:
    """Listens on a port of the loopback interface and passes everything on, until it is told otherwise.

    Whatever it is told holds for connections that are open and for those to come, until `heal()`. Thread-safe.
    """

    def __init__(self, upstream_port: int, *, frames: bool = True) -> None:
        self._upstream_port = upstream_port
        self._framed = frames
        self._changed = threading.Condition()
        self._held_requests: frozenset[int] = frozenset()
        self._held_answers: frozenset[int] = frozenset()
        self._to_lose: Counter[int] = Counter()
        self._silent = self._refusing = self._closed = False
        self._requests: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()
        self._connections: set[_Connection] = set()
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def hold_requests(self, *apis: Api) -> None:
        """Requests of these APIs wait here, and with them what follows on their connections."""
        self._set(_held_requests=frozenset(apis))

    def hold_answers(self, *apis: Api) -> None:
        """Requests arrive and take effect; the answers of these APIs wait here."""
        self._set(_held_answers=frozenset(apis))

    def lose_answers(self, api: Api, count: int = 1) -> None:
        """The next `count` requests of this API arrive and take effect; instead of an answer the client sees its
        connection cut."""
        with self._changed:
            self._to_lose[api] += count

    def silence(self) -> None:
        """Half-open connections: they stay, and new ones are made, but nothing comes through, either way."""
        self._set(_silent=True)

    def strand(self) -> None:
        """The connections that are open now are half-open for ever, as if the other machine or a router between had
        gone without a word; new ones work."""
        with self._changed:
            for connection in self._connections:
                connection.stranded = True

    def refuse(self) -> None:
        """Cuts all connections, and every new one at once."""
        self._set(_refusing=True)
        self.cut()

    def cut(self) -> None:
        """Cuts the connections that are open now."""
        with self._changed:
            found = list(self._connections)
        for connection in found:
            connection.cut()

    def heal(self) -> None:
        """Everything passes again, also what was held."""
        self._set(
            _held_requests=frozenset(),
            _held_answers=frozenset(),
            _silent=False,
            _refusing=False,
            _to_lose=Counter(),
        )

    def requests(self, api: Api) -> int:
        """How many requests of this API have come so far, held ones too."""
        with self._changed:
            return self._requests[api]

    def lost(self, api: Api) -> int:
        """How many answers `lose_answers` has swallowed so far."""
        with self._changed:
            return self._lost[api]

    def wait_for(self, what: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Returns once `what` (asked again whenever something has passed) is true. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(what, timeout_s):
                raise TimeoutError(f"not seen at the proxy within {timeout_s:g} s")

    def close(self) -> None:
        self._set(_closed=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _set(self, **state: Any) -> None:
        with self._changed:
            for name, value in state.items():
                setattr(self, name, value)
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                refused = self._refusing or self._closed
            try:
                if refused:
                    raise ConnectionRefusedError
                server = socket.create_connection((_HOST, self._upstream_port), _CONNECT_TIMEOUT_S)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            connection = _Connection(self, client, server)
            with self._changed:
                self._connections.add(connection)
            connection.start()

    def _pass_request(self, connection: "_Connection", api: int) -> bool:
        """Waits as long as a request must wait. False: the connection is over."""
        with self._changed:
            self._requests[api] += 1
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: connection.over or not (connection.stranded or self._silent or api in self._held_requests)
            )
            return not connection.over

    def _pass_answer(self, connection: "_Connection", api: int) -> bool:
        """Waits as long as an answer must wait. False: it is lost, and its connection with it."""
        with self._changed:
            self._changed.wait_for(
                lambda: connection.over or not (connection.stranded or self._silent or api in self._held_answers)
            )
            if connection.over:
                return False
            if self._to_lose[api] > 0:
                self._to_lose[api] -= 1
                self._lost[api] += 1
                self._changed.notify_all()
                return False
            return True

    def _gone(self, connection: "_Connection") -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()


_ANY = -1


class _Connection:
    """One client's connection and its counterpart to the server, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self.stranded = self.over = False
        self._asked: dict[int, int] = {}
        """API by correlation number, of the requests without an answer so far."""
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for way in (self._requests, self._answers):
            threading.Thread(target=self._run, args=[way], name="proxy", daemon=True).start()

    def cut(self) -> None:
        with self._proxy._changed:
            self.over = True
            self._proxy._changed.notify_all()
        _close(self._client)
        _close(self._server)

    def _run(self, way: Callable[[], None]) -> None:
        try:
            with suppress(OSError):
                way()
        finally:
            self.cut()
            self._proxy._gone(self)

    def _requests(self) -> None:
        for frame in _pieces(self._client, self._proxy._framed):
            api = _ANY
            if self._proxy._framed:
                api, _version, correlation = struct.unpack_from(">hhi", frame, 4)
                self._asked[correlation] = api
            if not self._proxy._pass_request(self, api):
                return
            self._server.sendall(frame)

    def _answers(self) -> None:
        for frame in _pieces(self._server, self._proxy._framed):
            api = _ANY
            if self._proxy._framed:
                (correlation,) = struct.unpack_from(">i", frame, 4)
                api = self._asked.pop(correlation, _ANY)
            if not self._proxy._pass_answer(self, api):
                return
            self._client.sendall(frame)


def _pieces(source: socket.socket, framed: bool) -> Iterator[bytes]:
    """Whole frames, or bytes as they come, until the other side has ended."""
    if not framed:
        while data := source.recv(_CHUNK_SIZE_BYTES):
            yield data
        return
    while head := _exactly(source, 4):
        (size_bytes,) = struct.unpack(">i", head)
        if not 4 <= size_bytes <= _FRAME_SIZE_BYTES_MAX:
            return  # not Kafka's protocol
        body = _exactly(source, size_bytes)
        if not body:
            return
        yield head + body


def _exactly(source: socket.socket, size_bytes: int) -> bytes:
    """So many bytes, or none if the other side has ended before."""
    found = bytearray()
    while len(found) < size_bytes:
        data = source.recv(min(_CHUNK_SIZE_BYTES, size_bytes - len(found)))
        if not data:
            return b""
        found += data
    return bytes(found)


def _close(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
