"""Does the stack that was found work?"""

from collections.abc import Iterator
from dataclasses import replace

import httpx

from darkroom.cli.checks.finding import Finding, broken, good, lacking
from darkroom.cli.connect import Stack
from darkroom.cli.stack.plan import FIXED_PORTS
from darkroom.cli.stack.ports import is_free
from darkroom.cli.stack.process import runs

_TIMEOUT_S = 5.0
_PREFIX = "/api/v1/inference"


def ports() -> Finding:
    """Only asked when no stack runs: are the fixed ports to be had?"""
    taken = [f"{port} ({what})" for what, port in FIXED_PORTS.items() if not is_free(port)]
    if taken:
        mend = "stop what listens there (`ss -ltnp` names it), or use `darkroom up --ports auto`"
        return lacking("ports", f"in use: {', '.join(taken)}", mend)
    return good("ports", f"free: {', '.join(str(port) for port in FIXED_PORTS.values())}")


def all_parts(stack: Stack) -> Iterator[Finding]:
    """One finding per part of the stack, as they come."""
    yield _processes(stack)
    if stack.kafka:
        yield _kafka(stack)
    if stack.mongodb:
        yield _mongodb(stack)
    if stack.command_url or stack.query_url:
        yield _blobs(stack)
    for url in stack.command_urls:
        if url:
            yield _service("command API", url)
    if stack.query_url:
        yield _service("query API", stack.query_url)
        yield _models(stack)


def _processes(stack: Stack) -> Finding:
    dead = [f"{kind} ({pid})" for kind, pids in stack.pids.items() for pid in pids if not runs(pid)]
    if dead:
        return broken("processes", f"gone: {', '.join(dead)}", f"look into {stack.data}/logs, then start it again")
    return good("processes", f"{sum(map(len, stack.pids.values()))} run, found by {stack.found_by}")


def _kafka(stack: Stack) -> Finding:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        found = AdminClient({"bootstrap.servers": stack.kafka, "log_level": 0}).list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        return broken("Kafka", f"{stack.kafka}: {error.args[0].str()}", _logs(stack, "kafka"))
    absent = [name for name in stack.topics.values() if name not in found.topics]
    if absent:
        return lacking(
            "Kafka", f"{stack.kafka}: no topic {', '.join(absent)} yet", "start the services: they make them"
        )
    return good(
        "Kafka", f"{stack.kafka}: {len(found.brokers)} broker(s), topics {', '.join(stack.topics.values())}"
    )


def _mongodb(stack: Stack) -> Finding:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        with MongoClient[dict[str, object]](
            stack.mongodb, serverSelectionTimeoutMS=int(_TIMEOUT_S * 1000)
        ) as client:
            hello = client.admin.command("hello")
    except PyMongoError as error:
        return broken("MongoDB", f"{stack.mongodb}: {str(error)[:200]}", _logs(stack, "mongodb"))
    if not hello.get("setName"):
        return broken(
            "MongoDB", f"{stack.mongodb} is no replica set", "start it with --replSet: transactions need it"
        )
    return good("MongoDB", f"{stack.mongodb}, replica set {hello['setName']}")


def _blobs(stack: Stack) -> Finding:
    from darkroom.runtime.blobs import open_blobs
    from darkroom.runtime.settings import read_settings
    from darkroom.schemas.errors import StoreUnavailable

    try:
        open_blobs(replace(read_settings(), blobs=stack.blobs)).check()
    except (StoreUnavailable, ValueError) as error:
        return broken(
            "blob store", f"{stack.blobs}: {error}", "see DARKROOM_BLOBS and DARKROOM_S3_… in .env.example"
        )
    return good("blob store", stack.blobs)


def _service(name: str, url: str) -> Finding:
    mend = "look into its log in the data folder's logs/"
    try:
        answer = httpx.get(f"{url}/health/ready", timeout=_TIMEOUT_S)
    except httpx.HTTPError as error:
        return broken(name, f"{url}: {error}", mend)
    if answer.status_code != 200:
        return broken(name, f"{url} is not ready: {answer.text.strip()[:200]}", mend)
    return good(name, f"{url} is ready")


def _models(stack: Stack) -> Finding:
    try:
        answer = httpx.get(f"{stack.query_url}{_PREFIX}/models", timeout=_TIMEOUT_S).raise_for_status()
        names = [item["name"] for item in answer.json()["items"]]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return broken("models", f"{stack.query_url}: {error}", "is the projector running?")
    if not names:
        return lacking("models", "none registered", "run `darkroom models add --bundled`")
    return good("models", ", ".join(names))


def _logs(stack: Stack, part: str) -> str:
    return f"look into {stack.data}/logs/{part}.log" if stack.data else "is it running? is the address right?"
