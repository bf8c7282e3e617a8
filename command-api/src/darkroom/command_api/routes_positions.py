"""The route of positions: what the log holds now."""

from collections.abc import Mapping
from time import monotonic
from typing import Any

from darkroom.command_api import documents as doc
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.ids import Position


def position_routes(logs: Mapping[str, EventLog], deadline_s: float) -> Blueprint:
    """The blueprint of `/positions`. `logs`: by topic name."""
    routes = Blueprint("positions", __name__, description="What the log holds now")

    @routes.route("/positions", methods=["GET"])
    @routes.doc(operationId="getPositions", parameters=[doc.TRACE_PARAMETER])
    @routes.response(200, doc.Positions, example=doc.POSITIONS_EXAMPLE)
    @problems("invalid-request", "log-unavailable")
    def positions() -> dict[str, Any]:
        """The end offset of each partition, asked of the broker now"""
        deadline = monotonic() + deadline_s
        return {
            "items": [
                _end(topic, log, partition, deadline)
                for topic, log in logs.items()
                for partition in range(log.partitions)
            ]
        }

    return routes


def _end(topic: str, log: EventLog, partition: int, deadline: float) -> dict[str, Any]:
    end = log.end_offset(partition, max(0.01, deadline - monotonic()))
    last = Position(log.topic_id, partition, end - 1).token() if end > 0 else None
    return {"topic": topic, "partition": partition, "end_offset": end, "position": last}
