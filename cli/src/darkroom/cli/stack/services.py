"""The services as parts of a stack: command lines as data, and the environment each is given."""

import http.client
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.cli.stack.parts import Part, Probe
from darkroom.cli.stack.ports import HOST

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "command-api": (sys.executable, "-m", "darkroom.command_api"),
    "query-api": (sys.executable, "-m", "darkroom.query_api"),
    "projector": (sys.executable, "-m", "darkroom.projector"),
    "executor": (sys.executable, "-m", "darkroom.executor"),
}
_LAYER = {"projector": 1, "query-api": 1, "command-api": 2, "executor": 2}
_PORT_SETTING = {
    "command-api": "DARKROOM_COMMAND_PORT",
    "query-api": "DARKROOM_QUERY_PORT",
    "projector": "DARKROOM_HEALTH_PORT",
    "executor": "DARKROOM_HEALTH_PORT",
}
_PROBE_TIMEOUT_S = 0.5
_STOP_TIMEOUT_S = 12.0
"""The services promise 10."""


@dataclass(frozen=True)
class Service:
    """One process of a service: the `number`th of its kind, answering health checks at `port`."""

    kind: str
    number: int
    port: int

    @property
    def name(self) -> str:
        return self.kind if self.number == 1 else f"{self.kind}-{self.number}"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def service_part(
    service: Service, commands: Mapping[str, tuple[str, ...]], env: Mapping[str, str], data: Path
) -> Part:
    """The service as a part; `env` holds the settings that all services share."""
    own = data / f"{service.kind}-{service.number}"
    own.mkdir(parents=True, exist_ok=True)
    own_env = {
        "DARKROOM_DATA": str(own),
        "DARKROOM_BIND": HOST,
        _PORT_SETTING[service.kind]: str(service.port),
        "PYTHONUNBUFFERED": "1",
    }
    if service.kind == "command-api":
        own_env["DARKROOM_COMMAND_URL"] = service.url
    return Part(
        kind=service.kind,
        name=service.name,
        layer=_LAYER[service.kind],
        argv=commands[service.kind],
        probe=http_probe(service.port),
        where=service.url if service.kind.endswith("-api") else "",
        env={**env, **own_env},
        stop_timeout_s=_STOP_TIMEOUT_S,
    )


def http_probe(port: int, path: str = "/health/ready") -> Probe:
    """Does the service on this port say that it is ready?"""

    def probe() -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe
