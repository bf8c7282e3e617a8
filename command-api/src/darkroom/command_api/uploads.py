"""From a request to its parts: multipart forms, raw bodies, base64. Nothing is decoded as a picture here."""

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Request
from werkzeug.datastructures import FileStorage

from darkroom.runtime.http.fields import invalid
from darkroom.runtime.http.forms import text_of
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.http.strictjson import check_encoding, parse_json, read_body, read_json

_BOUNDARY_LENGTH_MAX = 70  # RFC 2046, 5.1.1
_DATA_URL = re.compile(r"data:([A-Za-z0-9.+-]*/[A-Za-z0-9.+-]*|)((?:;[A-Za-z0-9=._-]+)*),")


def is_multipart(request: Request) -> bool:
    return request.mimetype == "multipart/form-data"


def read_form(
    request: Request, text_names: frozenset[str], file_names: frozenset[str]
) -> tuple[Mapping[str, str], Mapping[str, Sequence[FileStorage]]]:
    """The text fields (each at most once) and the files of a multipart body. Raises ProblemError: 415 for another
    media type, 400 for what cannot be read, 413 for too many or too large parts, 422 for unknown fields."""
    check_encoding(request)
    if not is_multipart(request):
        raise ProblemError("unsupported-media-type", "The body must be multipart/form-data.")
    boundary = request.mimetype_params.get("boundary", "")
    if not 1 <= len(boundary) <= _BOUNDARY_LENGTH_MAX:
        detail = f"The multipart body's boundary must be 1 to {_BOUNDARY_LENGTH_MAX} characters long."
        raise ProblemError("malformed-request", detail)
    form, files = request.form, request.files
    if not form and not files:
        raise ProblemError("malformed-request", "The multipart body has no readable parts.")
    wrong = [(f"#/{name}", "Unknown field.") for name in form if name not in text_names]
    wrong += [(f"#/{name}", "No file is expected here.") for name in files if name not in file_names]
    wrong += [
        (f"#/{name}", "Given more than once.")
        for name in form
        if name in text_names and len(form.getlist(name)) > 1
    ]
    if wrong:
        raise invalid(wrong)
    return {name: _decoded(text, name) for name, text in form.items()}, {
        name: files.getlist(name) for name in files
    }


def _decoded(text: str, name: str) -> str:
    try:
        return text_of(text).decode()
    except UnicodeDecodeError:
        raise ProblemError("malformed-request", f"The form field {name} is not UTF-8.") from None


def read_one_file(request: Request) -> bytes:
    """The bytes of a raw body, or of the one part `file` of a multipart body."""
    check_encoding(request)
    if not is_multipart(request):
        return read_body(request)
    _, files = read_form(request, frozenset(), frozenset({"file"}))
    found = files.get("file", [])
    if len(found) != 1:
        raise invalid([("#/file", "Give exactly one file.")])
    data: bytes = found[0].read()
    return data


def read_object(request: Request) -> Any:
    """The JSON body, or an empty object where there is no body at all."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return {}
    return read_json(request)


def read_no_body(request: Request) -> None:
    """For commands that carry nothing: no body, or `{}`."""
    if read_object(request) != {}:
        raise invalid([("#", "This command takes no body.")])


def json_field(content: str | bytes, name: str) -> Any:
    """The JSON value of a form field."""
    try:
        return parse_json(content.encode() if isinstance(content, str) else content)
    except ProblemError as error:
        raise ProblemError(error.kind.name, error.detail, errors=[(f"#/{name}", error.detail)]) from None


def decode_data_url(text: str, pointer: str, size_bytes_max: int) -> bytes:
    """The bytes of a `data:` URL in base64. Raises ProblemError: 415 for another media type than a picture's,
    413 by the encoded length, 422 for what is not base64."""
    head = _DATA_URL.match(text[:300])
    if head is None or not head[2].endswith(";base64"):
        raise invalid([(pointer, "Not of the form data:image/png;base64,…")])
    if not head[1].startswith("image/") and head[1] != "application/octet-stream":
        raise ProblemError(
            "unsupported-media",
            "The data: URL does not hold a picture.",
            errors=[(pointer, "The media type is not a picture's.")],
        )
    if (len(text) - head.end()) * 3 // 4 > size_bytes_max:
        raise ProblemError("picture-too-large", f"A picture may have at most {size_bytes_max} bytes.")
    encoded = text[head.end() :]
    try:
        if len(encoded) % 4 or encoded.endswith("==="):  # strict mode overlooks padding behind a full group
            raise ValueError
        return binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError):
        raise invalid([(pointer, "Not base64: wrong alphabet or padding.")]) from None
