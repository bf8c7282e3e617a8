"""Routes of the model catalogue: register and retire."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Response, request
from werkzeug.datastructures import FileStorage

from darkroom.command_api import documents as doc
from darkroom.command_api.answers import Addresses, model_answer
from darkroom.command_api.bodies import MODEL_NAME, MODEL_VERSION, ModelDescription
from darkroom.command_api.caller import caller_of
from darkroom.command_api.models import ModelCommands
from darkroom.command_api.outcomes import counted
from darkroom.command_api.uploads import is_multipart, json_field, read_form, read_no_body
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.fields import invalid, load
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.http.strictjson import read_json

_DESCRIPTION_SIZE_BYTES_MAX = 4 * 2**20
_DESCRIPTION = ModelDescription()
_PATH = [
    {
        "in": "path",
        "name": "name",
        "description": "the model's name",
        "schema": {"type": "string", "pattern": f"^{MODEL_NAME}$"},
        "example": doc.MODEL_NAME,
    },
    {
        "in": "path",
        "name": "version",
        "description": "the version; once registered, its content never changes",
        "schema": {"type": "string", "pattern": f"^{MODEL_VERSION}$"},
        "example": "1",
    },
]
_PARAMETERS = [doc.MODEL_KEY_PARAMETER, doc.CONDITION_PARAMETER, doc.TRACE_PARAMETER]


def model_routes(commands: ModelCommands, at: Addresses, incoming: Path, model_size_bytes_max: int) -> Blueprint:
    """The blueprint of `/models`. Uploads pass through files in the folder `incoming`."""
    routes = Blueprint("models", __name__, description="The model catalogue: register, retire")

    @routes.route("/models/<name>/versions/<version>", methods=["PUT"], parameters=_PATH)
    @routes.doc(requestBody=doc.MODEL_BODY, parameters=_PARAMETERS, operationId="registerModel")
    @routes.response(202, doc.ModelAccepted, example=doc.model_accepted("registered"), headers=doc.ACCEPTED_HEADERS)
    @problems(
        "malformed-header",
        "version-differs",
        "invalid-json",
        "malformed-request",
        "body-too-large",
        "unsupported-media-type",
        "unsupported-model",
        "invalid-request",
        "source-not-supported",
        "key-reused",
        ("model-retired", 410),
        "log-unavailable",
        "tail-behind",
        "store-unavailable",
    )
    def register_model(name: str, version: str) -> Response:
        """Register a version of a model

        Multipart: `description` (JSON, see the schema ModelDescription) and `file`. The same content again is no
        change; other content needs another version.
        """
        # Model files are larger than anything else that comes in here.
        request.max_content_length = model_size_bytes_max
        request.max_form_memory_size = _DESCRIPTION_SIZE_BYTES_MAX
        caller = caller_of(request)
        _check_path(name, version)  # before anything of it is logged
        with counted("register", model=f"{name}@{version}") as note:
            description, file = _read_model()
            said = load(_DESCRIPTION, description, "#/description")
            _check_names(said, name, version)
            incoming.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=incoming) as folder:
                path = Path(folder) / "file"
                file.save(path)
                accepted, digest = commands.register(name, version, said, path, caller)
            return model_answer(name, version, digest, "registered", note(accepted), at)

    @routes.route("/models/<name>/versions/<version>", methods=["DELETE"], parameters=_PATH)
    @routes.doc(parameters=_PARAMETERS, operationId="retireModel")
    @routes.response(202, doc.ModelAccepted, example=doc.model_accepted("retired"), headers=doc.ACCEPTED_HEADERS)
    @problems(
        "malformed-header",
        "version-differs",
        "invalid-json",
        "unsupported-media-type",
        "body-too-large",
        ("unknown-model", 404),
        ("model-retired", 410),
        "invalid-request",
        "log-unavailable",
        "tail-behind",
    )
    def retire_model(name: str, version: str) -> Response:
        """Retire a version of a model

        It may not be used for new runs; runs accepted before keep it.
        """
        caller = caller_of(request)
        if not _is_path(name, version):
            raise ProblemError("unknown-model", "There is no such model.", status=404)
        with counted("retire", model=f"{name}@{version}") as note:
            read_no_body(request)
            accepted, digest = commands.retire(name, version, caller)
            return model_answer(name, version, digest, "retired", note(accepted), at)

    return routes


def _is_path(name: str, version: str) -> bool:
    return bool(re.fullmatch(MODEL_NAME, name) and re.fullmatch(MODEL_VERSION, version))


def _check_path(name: str, version: str) -> None:
    if not _is_path(name, version):
        raise invalid([("name", f"A name is {MODEL_NAME}, a version {MODEL_VERSION}.")])


def _check_names(said: dict[str, Any], name: str, version: str) -> None:
    wrong = [
        (f"#/description/{field}", "Not that of the path.")
        for field, value in (("name", name), ("version", version))
        if said.get(field, value) != value
    ]
    if wrong:
        raise invalid(wrong)


def _read_model() -> tuple[Any, FileStorage]:
    """The description's JSON value and the file of a multipart body. The description may be a part with or
    without a file name. Raises ProblemError, also for a JSON body: its source would have to be fetched."""
    if not is_multipart(request):
        if not isinstance(read_json(request), dict):
            raise invalid([("#", "Not a JSON object.")])
        raise ProblemError(
            "source-not-supported",
            "The service fetches no models yet: send `description` and `file` as multipart.",
            errors=[("#/source", "Not supported yet.")],
        )
    texts, files = read_form(request, frozenset({"description"}), frozenset({"description", "file"}))
    found = files.get("file", [])
    descriptions = files.get("description", [])
    wrong = []
    if len(found) != 1:
        wrong.append(("#/file", "Give exactly one file."))
    if len(descriptions) + len(texts) != 1:
        wrong.append(("#/description", "Give exactly one description."))
    if wrong:
        raise invalid(wrong)
    content: str | bytes | None = texts.get("description")
    if content is None:
        content = descriptions[0].read(_DESCRIPTION_SIZE_BYTES_MAX + 1)
        if len(content) > _DESCRIPTION_SIZE_BYTES_MAX:
            raise ProblemError("body-too-large", "The description is too large.")
    return json_field(content, "description"), found[0]
