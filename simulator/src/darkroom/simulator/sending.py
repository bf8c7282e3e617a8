"""One action of the scenario as requests to the command API."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from darkroom.simulator import pictures
from darkroom.simulator.client import Answer, CommandClient, data_url
from darkroom.simulator.pictures import Picture
from darkroom.simulator.scenario import (
    Action,
    BadCreate,
    Cancel,
    Create,
    Delete,
    Fault,
    Repeat,
    RunAgain,
    Way,
)

_BROKEN = {
    Fault.TRUNCATED: pictures.truncated(),
    Fault.TEXT: pictures.text(),
    Fault.TOO_MANY_PIXELS: pictures.too_many_pixels(),
}


def send(client: CommandClient, action: Action, job_id: str, pool: Sequence[Picture]) -> Answer:
    """Carries out an action. `job_id`: the job that it is about ("" for a create). Raises Unreachable."""
    match action:
        case Create():
            return _create(client, action, pool)
        case Repeat(create=create):
            return _create(client, create, pool)
        case BadCreate():
            return _bad_create(client, action, pool)
        case RunAgain(key=key, model=model, parameters=parameters):
            asked: dict[str, Any] = {"model": model} if model else {}
            if parameters:
                asked["parameters"] = dict(parameters)
            return client.run(job_id, key, asked)
        case Cancel(key=key):
            return client.cancel(job_id, key)
        case Delete(key=key):
            return client.delete(job_id, key)
        case _:
            assert_never(action)


def _create(client: CommandClient, create: Create, pool: Sequence[Picture]) -> Answer:
    chosen = [pool[n] for n in create.pictures]
    if create.way is Way.MULTIPART:
        return client.create_from_files(
            create.model, chosen, create.key, parameters=create.parameters, labels=create.labels
        )
    if create.way is Way.MEDIA:
        inputs = []
        for picture in chosen:
            kept = client.upload(picture)
            if not kept.ok:
                return kept
            inputs.append({"media": kept.body["digest"]})
    else:
        inputs = [{"data": data_url(picture)} for picture in chosen]
    body: dict[str, Any] = {"model": create.model, "inputs": inputs, "labels": dict(create.labels)}
    if create.parameters:
        body["parameters"] = dict(create.parameters)
    if not create.execute:
        body["execute"] = False
    return client.create(body, create.key, create.job_id)


def _bad_create(client: CommandClient, bad: BadCreate, pool: Sequence[Picture]) -> Answer:
    picture = _BROKEN.get(bad.fault, pool[0])
    model = "no-such-model" if bad.fault is Fault.UNKNOWN_MODEL else bad.model
    if bad.way is Way.MULTIPART and bad.fault is not Fault.UNKNOWN_FIELD:
        return client.create_from_files(model, [picture], bad.key)
    given: Mapping[str, str] = {"data": data_url(picture)}
    if bad.fault is Fault.UNKNOWN_MEDIA:
        given = {"media": f"sha256:{hashlib.sha256(bad.key.encode()).hexdigest()}"}
    body: dict[str, Any] = {"model": model, "inputs": [given]}
    if bad.fault is Fault.UNKNOWN_FIELD:
        body["modle"] = model
    return client.create(body, bad.key)
