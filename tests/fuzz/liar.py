"""A server that answers what it was told to, whatever it is asked: to try the judge."""

from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple


class Lie(NamedTuple):
    status: int
    body: str
    headers: Mapping[str, str]


class Liar:
    """Tells its lies one after the other; when there are none left, it hangs up without a word."""

    def __init__(self, lies: Sequence[Lie]) -> None:
        left = list(lies)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.close_connection = True
                if not left:
                    return
                lie = left.pop(0)
                self.send_response(lie.status)
                for name, value in {**lie.headers, "Content-Length": str(len(lie.body.encode()))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(lie.body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Liar":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
