"""The OpenAPI document: valid, complete, and true to the answers."""

import json

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

CALLS = {
    ("post", "/jobs"),
    ("put", "/jobs/{job_id}"),
    ("delete", "/jobs/{job_id}"),
    ("post", "/jobs/{job_id}/runs"),
    ("post", "/jobs/{job_id}/cancel"),
    ("post", "/media"),
    ("put", "/models/{name}/versions/{version}"),
    ("delete", "/models/{name}/versions/{version}"),
    ("get", "/positions"),
}


@pytest.fixture
def document(door) -> dict:
    return door.get("/openapi.json").json


def _operations(document):
    for path, item in document["paths"].items():
        shared = item.get("parameters", [])
        for method, operation in item.items():
            if method != "parameters":
                yield method, path, operation, [*shared, *operation.get("parameters", [])]


def test_it_is_valid_and_holds_every_call(document):
    validate(document)
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "http://command.test"}]
    found = {(m, p.removeprefix("/api/v1/inference")) for m, p, _, _ in _operations(document)}
    assert found == CALLS


def test_everything_has_an_example(document):
    for method, path, operation, parameters in _operations(document):
        at = f"{method} {path}"
        assert operation["summary"], at
        assert operation["operationId"], at
        for parameter in parameters:
            assert parameter.get("description"), (at, parameter["name"])
            assert parameter.keys() & {"example", "examples"}, (at, parameter["name"])
        statuses = set(operation["responses"])
        assert "500" in statuses
        assert statuses & {"200", "201", "202"}
        for status, answer in operation["responses"].items():
            assert answer["description"], (at, status)
            (media_type,) = answer["content"]
            assert media_type == ("application/json" if status < "400" else "application/problem+json")
            content = answer["content"][media_type]
            assert "example" in content or content["examples"], (at, status)
            if status == "503":
                assert "Retry-After" in answer["headers"]


def test_examples_agree_with_their_schemas(document):
    def check(example, schema, at):
        Draft202012Validator({**schema, "components": document["components"]}).validate(example)
        assert example is not None, at

    for method, path, operation, _ in _operations(document):
        bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
        for content in (c for body in bodies for c in body.get("content", {}).values()):
            examples = [e["value"] for e in content.get("examples", {}).values()]
            if "example" in content:
                examples.append(content["example"])
            for example in examples:
                if not isinstance(example, str) and "file" not in content["schema"].get("required", []):
                    check(example, content["schema"], (method, path))


def test_the_example_of_a_create_can_be_tried_out(door, document):
    body = document["paths"]["/api/v1/inference/jobs"]["post"]["requestBody"]["content"]["application/json"]
    answer = door.post("/jobs", {**body["example"], "model": "m"})
    assert answer.status_code == 202, answer.json
    schema = {"$ref": "#/components/schemas/JobAccepted", "components": document["components"]}
    Draft202012Validator(schema).validate(answer.json)


def test_every_error_that_was_met_is_documented(door, document):
    """A sample over the routes; tests/test_fuzz.py does it for all."""
    job_id = door.create()
    body = {"data": b"x", "content_type": "text/plain"}
    calls = [
        ("post", "/jobs", door.post("/jobs", {"model": "nope", "inputs": []})),
        ("post", "/jobs/{job_id}/runs", door.post(f"/jobs/{job_id}/runs")),
        ("post", "/jobs/{job_id}/cancel", door.post("/jobs/x/cancel")),
        ("delete", "/models/{name}/versions/{version}", door.delete("/models/x/versions/1")),
        # Calls that take no body, with one.
        ("post", "/jobs/{job_id}/cancel", door.post(f"/jobs/{job_id}/cancel", **body)),
        ("delete", "/jobs/{job_id}", door.delete(f"/jobs/{job_id}", **body)),
        ("delete", "/models/{name}/versions/{version}", door.delete("/models/m/versions/1", **body)),
    ]
    for method, path, answer in calls:
        documented = document["paths"]["/api/v1/inference" + path][method]["responses"][str(answer.status_code)]
        examples = documented["content"]["application/problem+json"]["examples"]
        assert answer.json["type"].rsplit(":", 1)[1] in examples
        schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)
        assert json.dumps(answer.json)


def test_what_the_server_answers_by_itself_is_documented(document):
    for method, path, operation, _ in _operations(document):
        assert operation["responses"].keys() >= {"400", "408", "414", "431", "501", "503"}, (method, path)


def test_no_example_retires_a_model_that_comes_with_the_service(document):
    """Swagger UI fills examples in: whoever only tries a call out keeps the bundled models."""
    shared = document["paths"]["/api/v1/inference/models/{name}/versions/{version}"]["parameters"]
    (example,) = [parameter["example"] for parameter in shared if parameter["name"] == "name"]
    assert not example.startswith("shapes-")
