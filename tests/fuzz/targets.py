"""The operations of both APIs, as their OpenAPI documents tell of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import schemathesis
from hypothesis import strategies as st
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode

API = "/api/v1/inference"
_NO_NEGATIVE = frozenset({"getPositions", "getJob", "getJobEvents", "streamEvents", "listProjections"})
"""Whatever is sent as their path and headers is a string, and the fuzzer breaks one place at a time: it finds no
request that their documents forbid. Unruly values reach them all the same."""


@dataclass(frozen=True, slots=True)
class Target:
    """One operation. `names`: its parameters by place (path, query, header); `problems`: the names of the problem
    types that its document gives for each status."""

    id: str
    base_url: str
    operation: APIOperation
    names: Mapping[str, frozenset[str]]
    problems: Mapping[int, frozenset[str]]

    def cases(self) -> st.SearchStrategy[Case]:
        """Requests that the document allows, and one in three that it forbids."""
        positive = self.operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        if self.id in _NO_NEGATIVE:
            return positive
        negative = self.operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        return st.one_of(positive, positive, negative)


def targets_of(url: str) -> dict[str, Target]:
    """The operations of the service at `url`, by operationId."""
    schema = schemathesis.openapi.from_url(f"{url}{API}/openapi.json")
    schema.config.output.sanitization.update(enabled=False)
    return {target.id: target for target in _targets(schema, url)}


def _targets(schema: BaseSchema, url: str) -> Iterator[Target]:
    for found in schema.get_all_operations():
        operation = found.ok()
        raw = operation.definition.raw
        shared = schema.raw_schema["paths"][operation.path].get("parameters", [])
        declared = [*shared, *raw.get("parameters", [])]
        names = {at: frozenset(p["name"] for p in declared if p["in"] == at) for at in ("path", "query", "header")}
        problems = {
            int(status): frozenset(answer["content"]["application/problem+json"]["examples"])
            for status, answer in raw["responses"].items()
            if int(status) >= 400
        }
        yield Target(raw["operationId"], url, operation, names, problems)
