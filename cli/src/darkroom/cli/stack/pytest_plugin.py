"""Fixtures for the whole workspace: one real Kafka and one real MongoDB per test run, started when first asked for.

Loaded by `-p darkroom.cli.stack.pytest_plugin` in the root's pytest settings, so that the tests of every member
share them. Tests keep apart by names of their own: see `unique_name`.
"""

import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the plugin is loaded in every test run: it imports only what a run uses
    from darkroom.cli.connect import Stack

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """A folder for what the run's servers keep, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="darkroom-tests-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def kafka(stack_folder: Path) -> Iterator[str]:
    """Bootstrap servers of a real broker (auto-creation of topics is off)."""
    from darkroom.cli.stack.jars import class_path
    from darkroom.cli.stack.kafka import Broker, Cluster
    from darkroom.cli.stack.ports import free_port
    from darkroom.cli.stack.process import Child
    from darkroom.cli.stack.readiness import wait_ready

    broker = Broker(1, free_port(), free_port(), stack_folder / "kafka")
    cluster = Cluster([broker], class_path(), quick=True)
    cluster.format(stack_folder)
    child = Child("kafka", cluster.argv(broker), stack_folder / "kafka.log")
    try:
        wait_ready(child, lambda: cluster.probe(broker), _START_TIMEOUT_S)
        yield cluster.bootstrap
    finally:
        child.stop(_STOP_TIMEOUT_S)


@pytest.fixture(scope="session")
def mongodb(stack_folder: Path) -> Iterator[str]:
    """URI of a real MongoDB, a replica set of one node."""
    from darkroom.cli.stack.mongod import Node, ReplicaSet, find_mongod
    from darkroom.cli.stack.ports import free_port
    from darkroom.cli.stack.process import Child
    from darkroom.cli.stack.readiness import wait_ready

    node = Node(free_port(), stack_folder / "mongodb")
    replica_set = ReplicaSet([node], find_mongod())
    child = Child("mongodb", replica_set.argv(node), stack_folder / "mongodb.log")
    try:
        wait_ready(child, replica_set.probe, _START_TIMEOUT_S)
        yield replica_set.uri
    finally:
        child.stop(_STOP_TIMEOUT_S)


@pytest.fixture(scope="session")
def stack(stack_folder: Path) -> Iterator["Stack"]:
    """A whole `darkroom up` on free ports: all services, with a Kafka and a MongoDB of their own."""
    from darkroom.cli.connect import find_stack
    from darkroom.cli.stack.process import Child
    from darkroom.cli.stack.readiness import wait_ready

    ready_file = stack_folder / "ready.json"
    arguments = ("up", "--ports", "auto", "--data", str(stack_folder / "up"), "--ready-file", str(ready_file))
    # The user's own `darkroom up` stays the one that his commands find.
    env = {"XDG_STATE_HOME": str(stack_folder / "state")}
    child = Child("up", [sys.executable, "-m", "darkroom.cli", *arguments], stack_folder / "up.log", env)
    try:
        wait_ready(child, ready_file.exists, 2 * _START_TIMEOUT_S)
        yield find_stack(ready_file)
    finally:
        child.stop(4 * _STOP_TIMEOUT_S)


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name for this test's topic or database: at most 50 of [a-z0-9-]."""
    plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in request.node.name.lower())
    return f"{plain[:37]}-{uuid.uuid4().hex[:12]}"
