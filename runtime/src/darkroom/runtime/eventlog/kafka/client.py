"""What all clients of Kafka have in common: how they find the broker, give one up and come back to it."""

import logging
from typing import Any

log = logging.getLogger("darkroom.kafka")

_SOCKET_TIMEOUT_MS = 6_000
_CONNECT_TIMEOUT_MS = 3_000
_RECONNECT_MS_MAX = 1_000


def client_config(bootstrap: str) -> dict[str, Any]:
    """The part of every client's settings that says how long it waits for a broker that does not answer.

    The library's own (a minute for a request, half a minute for a connection, ten seconds between attempts) are
    longer than a command's whole deadline: a connection that has died without a word, or a broker that is back,
    would be noticed long after it.
    """
    return {
        "bootstrap.servers": bootstrap,
        "socket.timeout.ms": _SOCKET_TIMEOUT_MS,
        "socket.connection.setup.timeout.ms": _CONNECT_TIMEOUT_MS,
        "socket.keepalive.enable": True,
        "api.version.request.timeout.ms": _CONNECT_TIMEOUT_MS,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": _RECONNECT_MS_MAX,
        "logger": log,
    }


def silent(config: dict[str, Any]) -> dict[str, Any]:
    """The same for a client that is not polled all the time: its log lines would wait in memory for the next poll,
    ever more of them while the broker is away. Those that are polled say enough."""
    return {name: value for name, value in config.items() if name != "logger"} | {"log_level": 0}


def consumer_config(bootstrap: str) -> dict[str, Any]:
    """Settings of a consumer that is assigned its positions, joins no group and commits nothing."""
    return client_config(bootstrap) | {
        "group.id": "darkroom-unused",  # required by the library; assigned readers never join a group
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 500,
        "enable.partition.eof": False,
    }
