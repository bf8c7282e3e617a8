"""A service that does nothing but answer its health checks. Its one argument is how it behaves."""

import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(behaviour: str) -> None:
    if behaviour == "fail":
        print("the reason why it cannot start")
        sys.exit(3)
    if behaviour == "brood":  # as a web server has workers, which know nothing of who started the server
        worker = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
        (Path(os.environ["DARKROOM_DATA"]) / "worker.pid").write_text(str(worker.pid))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    names = ("DARKROOM_COMMAND_PORT", "DARKROOM_QUERY_PORT", "DARKROOM_HEALTH_PORT")
    port = next(int(os.environ[name]) for name in names if name in os.environ)
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
