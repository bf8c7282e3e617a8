"""Logs as JSON lines (or for a console), and the trace context of W3C."""

import logging
import re
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import orjson
import structlog
import uuid_utils

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class _Unfailing:
    """Loses what cannot be written: a full disk under the log must not turn an answer into an error."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        with suppress(OSError):
            return self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure_logging(style: str, service: str) -> None:
    """Sends structlog and the standard library's logs to standard error, one line each. `style`: json or
    console."""

    def named(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service  # not a context variable: threads started later would not have it
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        named,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    # Lines of libraries come through the standard library; our own go straight out, at a fifth of the cost.
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(orjson.dumps, default=repr) if style == "json" else renderer,
        ],
        logger_factory=(
            structlog.BytesLoggerFactory(_Unfailing(sys.stderr.buffer))  # type: ignore[arg-type]
            if style == "json"
            else structlog.PrintLoggerFactory(sys.stderr)
        ),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def continued_trace(traceparent: str | None) -> str:
    """The caller's trace context, or a new one if it gave none that is valid (W3C Trace Context, version 00)."""
    if traceparent and _TRACEPARENT.fullmatch(traceparent):
        return traceparent
    return f"00-{uuid_utils.uuid4().hex}-{uuid_utils.uuid4().hex[:16]}-01"
