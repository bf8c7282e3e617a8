"""The command API with little patience, for test_bad_input_http.py: the limits are no settings."""

from darkroom.command_api.__main__ import build
from darkroom.runtime.http.receiving import Limits
from darkroom.runtime.http.server import serve
from darkroom.runtime.settings import read_settings
from darkroom.runtime.telemetry import configure_logging

if __name__ == "__main__":
    settings = read_settings()
    configure_logging(settings.log, "command-api")
    limits = Limits(stall_s=0.5, head_s=0.8, request_s=1.2, rate_bytes_s=2**20)
    serve(lambda: build(settings), settings.bind, settings.command_port, settings.http_threads, 40, limits)
