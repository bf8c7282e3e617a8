"""Logs as JSON lines, whichever logger and thread they come from; and trace contexts."""

import json
import subprocess
import sys

import pytest

from darkroom.runtime.telemetry import continued_trace

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SCRIPT = """
import logging, threading, structlog
from darkroom.runtime.telemetry import configure_logging
configure_logging("json", "a-service")
structlog.get_logger().info("from structlog", job_id="j1")
logging.getLogger("library").warning("from %s", "logging")
def other():
    structlog.get_logger().info("from a thread")
    try:
        1 / 0
    except ZeroDivisionError:
        logging.getLogger("library").exception("failed")
thread = threading.Thread(target=other); thread.start(); thread.join()
logging.getLogger("library").debug("not shown")
"""


def test_every_log_line_is_json_and_names_its_service() -> None:
    """In a process of its own: logging is configured once per process."""
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["from structlog", "from logging", "from a thread", "failed"]
    assert {line["service"] for line in lines} == {"a-service"}
    assert [line["level"] for line in lines] == ["info", "warning", "info", "error"]
    assert lines[0]["job_id"] == "j1"
    assert lines[1]["logger"] == "library"
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert run.stdout == ""


def test_a_valid_trace_is_continued() -> None:
    assert continued_trace(VALID) == VALID


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "nonsense",
        VALID + "\n",
        VALID.upper(),
        "ff" + VALID[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    ],
)
def test_anything_else_begins_a_new_trace(given: str | None) -> None:
    made = continued_trace(given)
    assert made != given
    assert continued_trace(made) == made
    assert continued_trace(given) != made
