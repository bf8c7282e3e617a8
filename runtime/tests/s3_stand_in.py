"""As much of S3's protocol as the blob store speaks, over HTTP on loopback: objects, conditional puts, parts,
lists, deletions."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_PIECE_SIZE_BYTES = 2**16


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _answer(self, status: int, body: bytes = b"", content_range: str = "") -> None:
        self.send_response(status)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 06:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            for start in range(0, len(body), _PIECE_SIZE_BYTES):
                piece = body[start : start + _PIECE_SIZE_BYTES]
                if self.server.rate_bytes_s is not None:
                    threading.Event().wait(len(piece) / self.server.rate_bytes_s)
                self.wfile.write(piece)

    def _read(self) -> tuple[str, dict[str, str], bytes]:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return parts.path, query, self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self) -> None:
        path, query, body = self._read()
        with self.server.lock:
            if "partNumber" in query:
                self.server.parts.setdefault(path, {})[int(query["partNumber"])] = body
                return self._answer(200)
            if self.headers.get("If-None-Match") == "*" and path in self.server.objects:
                return self._answer(412)
            self.server.objects[path] = body
        return self._answer(200)

    def do_POST(self) -> None:
        path, query, body = self._read()
        if "delete" in query:
            keys = re.findall("<Key>(.*?)</Key>", body.decode())
            with self.server.lock:
                for key in keys:
                    self.server.objects.pop(f"{path.rstrip('/')}/{key}", None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        if "uploads" in query:
            return self._answer(
                200,
                b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
            )
        with self.server.lock:
            parts = self.server.parts.pop(path)
            self.server.objects[path] = b"".join(parts[number] for number in sorted(parts))
        return self._answer(200, b"<CompleteMultipartUploadResult><ETag>tag</ETag></CompleteMultipartUploadResult>")

    def _list(self, bucket: str, prefix: str) -> None:
        with self.server.lock:
            found = {path.removeprefix(f"{bucket}/"): body for path, body in self.server.objects.items()}
        entries = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-11-22T06:00:00.000Z</LastModified>"
            f"<ETag>tag</ETag><Size>{len(body)}</Size></Contents>"
            for key, body in sorted(found.items())
            if key.startswith(prefix)
        )
        self._answer(
            200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()
        )

    def do_GET(self) -> None:
        path, query, _ = self._read()
        if "list-type" in query:
            return self._list(path.rstrip("/"), query.get("prefix", ""))
        body = self.server.objects.get(path)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if body is None or asked is None:
            return self._answer(404 if body is None else 200, body or b"")
        start, last = int(asked[1]), min(int(asked[2]), len(body) - 1)
        if start > last:
            return self._answer(416)
        return self._answer(206, body[start : last + 1], f"bytes {start}-{last}/{len(body)}")

    do_HEAD = do_GET  # the name that the base class looks for

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.rate_bytes_s: float | None = None


@contextmanager
def s3_stand_in(rate_bytes_s: float | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its endpoint, and its objects by path. `rate_bytes_s`: how fast a body comes down, if not at once."""
    server = _Server()
    server.rate_bytes_s = rate_bytes_s
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.objects
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
