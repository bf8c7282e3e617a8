"""From one generated request to several: as it is, with what is known put in, and with something unruly in it.

To generate a request costs ten times as much as to send it; so each is used more than once.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from schemathesis import Case

from . import unruly
from .known import BUNDLED, OWN_MODELS, PROTECTED, Known, picture
from .targets import Target

_WAITS = re.compile(r"wait\s*=", re.IGNORECASE)
STREAM = "text/event-stream"
_ACCEPTED = frozenset({202, 303})
_OF_MODELS = frozenset({"registerModel", "retireModel"})
_SHOWS_RESULTS = frozenset({"listRuns", "runJob"})
_TAKES_JOB = frozenset({"createJob", "putJob"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to send. `content`: instead of the case's body, with its media type; `headers`: beside those of the
    case; `meant`: the statuses that must come, None for any that is documented; `repeat`: send it twice, and the
    answer must be the same."""

    case: Case
    how: str
    content: tuple[bytes, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    meant: frozenset[int] | None = None
    repeat: bool = False


def requests_of(target: Target, case: Case, known: Known, random: Random, variants: int) -> Iterator[Asked]:
    """What is sent for one generated case: itself, and twice as many others as `variants` says."""
    _tame(target, case)
    yield Asked(case, "generated", headers=_stream(target, random))
    for _ in range(variants):
        yield _known(target, case, known, random)
        yield _unruly(target, _known(target, case, known, random), random)


def _tame(target: Target, case: Case) -> None:
    """Nothing waits for long, and what other tests use stays."""
    wait = str(case.query.get("wait", "")) if isinstance(case.query, dict) else ""
    if wait.isascii() and wait.isdigit() and 1 < int(wait) <= 60:
        case.query["wait"] = 1
    if _WAITS.search(str(case.headers.get("Prefer", ""))):
        case.headers["Prefer"] = "wait=1"
    if target.id in _OF_MODELS and case.path_parameters.get("name") in PROTECTED:
        case.path_parameters["name"] = "fuzz-0"


def _stream(target: Target, random: Random) -> dict[str, str]:
    streams = target.id == "streamEvents" or (target.id == "getJobEvents" and random.random() < 0.1)
    return {"Accept": STREAM} if streams else {}


def _known(target: Target, case: Case, known: Known, random: Random) -> Asked:
    """The case with its places filled from what is known; whole where a refusal would be a mistake."""
    path = {name: _value(target, name, known, random) for name in target.names["path"]}
    if target.id == "retireModel" and len(known.own_models) and random.random() < 0.8:
        path["name"], path["version"] = known.own_models.pick(random)
    query = {
        name: _value(target, name, known, random) if random.random() < 0.8 else case.query.get(name)
        for name in target.names["query"]
        if random.random() < 0.3
    }
    headers = {
        name: str(_value(target, name, known, random))
        for name in target.names["header"]
        if random.random() < (0.6 if name == "Idempotency-Key" else 0.15)
    }
    body, media_type = _body(target, case, known, random)
    meant = None
    if target.id in _TAKES_JOB and "If-Match" not in headers:
        fresh = known.fresh()
        if target.id == "putJob":
            path["job_id"] = str(uuid5(NAMESPACE_OID, fresh))
        if "Idempotency-Key" in headers:
            headers["Idempotency-Key"] = fresh
            known.keys.add(fresh)
        meant = _ACCEPTED
    elif target.id == "uploadMedia":
        meant = frozenset({201})
    made = target.operation.Case(
        path_parameters=path,
        query={k: v for k, v in query.items() if v is not None},
        headers=headers,
        body=body,
        media_type=media_type,
    )
    # A wait for the end of a run is an answer of another moment each time.
    repeat = "Idempotency-Key" in headers and "Prefer" not in headers and random.random() < 0.3
    return Asked(made, "known", headers=_stream(target, random), meant=meant, repeat=repeat)


def _value(target: Target, name: str, known: Known, random: Random) -> Any:
    models = "model" in target.id.lower()
    match name:
        case "job_id" | "job":
            return _job(target, known, random)
        case "name":
            own = target.id in _OF_MODELS
            return f"fuzz-{random.randrange(OWN_MODELS)}" if own else known.models.pick(random).partition("@")[0]
        case "version":
            return str(random.randint(1, 9))
        case "run" | "index":
            return random.choice([0, 0, 1, 1, 2])
        case "after":
            pool = known.model_positions if models and len(known.model_positions) else known.positions
            return [pool.pick(random) for _ in range(random.randint(1, 2))]
        case "wait":
            return random.randint(0, 1)
        case "cursor":
            return known.cursors.pick(random) if len(known.cursors) and random.random() < 0.3 else None
        case "status":
            return random.sample(["created", "queued", "running", "succeeded", "failed", "cancelled"], 2)
        case "label":
            return [f"batch:{known.label}"]
        case "model":
            return known.models.pick(random)
        case "id":
            return known.jobs.pick(random)[: random.randint(1, 36)]
        case "limit":
            return random.randint(1, 200)
        case "min_score":
            return random.choice([0, 1, 0.5, random.random(), random.random() / 10 ** random.randint(0, 9)])
        case "created_from" | "created_to" | "since":
            return f"20{random.randint(10, 40)}-0{random.randint(1, 9)}-1{random.randint(0, 9)}T00:00:00Z"
        case "include":
            return "void"
        case "Idempotency-Key":
            return known.keys.pick(random) if random.random() < 0.2 else known.fresh()
        case "If-Match" | "If-None-Match":
            return f'"{known.versions.pick(random)}"'
        case "Prefer":
            return "wait=1"
        case "Last-Event-ID":
            return known.positions.pick(random)
        case "Traceparent":
            return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"
        case _:
            return None  # as_of: not supported yet


def _job(target: Target, known: Known, random: Random) -> str:
    """A job that is there, mostly; one with results where they are shown, one that runs where it is cancelled."""
    if random.random() < 0.1:
        return known.deleted.pick(random)
    if target.id == "cancelJob" and random.random() < 0.5:
        accepted: str = known.create(random.choice(BUNDLED), execute=True)["id"]
        return accepted
    shows = target.id in _SHOWS_RESULTS or target.id.startswith("get")
    return (known.ended if shows and random.random() < 0.7 else known.jobs).pick(random)


def _body(target: Target, case: Case, known: Known, random: Random) -> tuple[Any, str | None]:
    said = case.body if isinstance(case.body, dict) else {}
    match target.id:
        case "createJob" | "putJob" if random.random() < 0.3:
            form: dict[str, Any] = {
                "model": random.choice(BUNDLED),
                "labels": json.dumps({"batch": known.label}),
                "file": [random.choice(known.pictures) for _ in range(random.randint(1, 2))],
            }
            return form | ({"execute": "false"} if random.random() < 0.7 else {}), "multipart/form-data"
        case "createJob" | "putJob":
            data = picture(colour=random.randrange(256))
            given: list[dict[str, str]] = [{"media": known.digests.pick(random)}, {"data": unruly.data_url(data)}]
            body: dict[str, Any] = {
                "model": random.choice(BUNDLED),
                "inputs": [random.choice(given)],
                "labels": {"batch": known.label},
            }
            if random.random() < 0.5:
                body["parameters"] = {"top_k": random.randint(1, 1000), "min_score": random.random()}
            # Most are only created: to run a model costs more than all else here.
            return body | ({"execute": False} if random.random() < 0.7 else {"deadline_s": 60}), "application/json"
        case "runJob":
            return ({"model": random.choice(BUNDLED)} if random.random() < 0.5 else {}), "application/json"
        case "uploadMedia":
            data = random.choice(known.pictures)
            if random.random() < 0.3:
                return {"file": data}, "multipart/form-data"
            return data, "application/octet-stream"
        case "registerModel":
            described = {**known.description, "labels": [*known.description["labels"], f"l{random.randint(0, 3)}"]}
            return {"description": json.dumps(described), "file": known.model_file}, "multipart/form-data"
        case _:
            return (said or case.body), case.media_type


def _unruly(target: Target, asked: Asked, random: Random) -> Asked:
    """One place of the request is not what it should be."""
    case = asked.case
    headers = dict(asked.headers)
    places = ["query", "header", "header", "content"]
    places += ["path"] * (2 if target.names["path"] else 0)
    places += ["named"] * (2 if target.names["query"] else 0)
    places += ["body"] * (8 if case.media_type else 0)
    content = None
    match random.choice(places):
        case "path":
            name = random.choice(sorted(target.names["path"]))
            case.path_parameters[name] = unruly.segment(random)
        case "named":
            name = random.choice(sorted(target.names["query"]))
            value = unruly.text(random)
            case.query[name] = [value, unruly.text(random)] if random.random() < 0.2 else value
        case "query":
            case.query[unruly.text(random)] = unruly.text(random)
        case "header" if target.names["header"] and random.random() < 0.5:
            headers[random.choice(sorted(target.names["header"]))] = unruly.plain_text(random)
        case "header":
            name, value = random.choice(unruly.HEADERS)
            headers[name] = value.encode("latin-1").decode("latin-1")
        case "body" if isinstance(case.body, bytes):
            case.body = unruly.damaged(case.body, random)
        case "body" if case.media_type == "application/json":
            case.body = unruly.changed(case.body, random)
        case "body" if isinstance(case.body, dict) and "description" in case.body and random.random() < 0.7:
            changed = unruly.changed(json.loads(case.body["description"]), random)
            case.body = {**case.body, "description": json.dumps(changed)}
        case "body" if isinstance(case.body, dict):
            name = random.choice(sorted(case.body))
            value = case.body[name]
            changed = unruly.damaged(value, random) if isinstance(value, bytes) else unruly.text(random)
            case.body = {**case.body, name: changed}
        case _:
            content = random.choice(unruly.BODIES), random.choice(unruly.MEDIA_TYPES)
    _tame(target, case)
    if _WAITS.search(headers.get("Prefer", "")):
        headers["Prefer"] = "wait=1"
    return Asked(case, "unruly", content, headers)
