"""Bad forms and bad base64 against the running service."""

import json

import pytest

from .running import SECRET, Running, data_url, form, job, part, picture, post_json, request, send_form

S = SECRET.encode()
FORM = "Content-Type: multipart/form-data"
PICTURE = picture()
MODEL = part("model", "m")
FILE = part("file", PICTURE, SECRET + ".png")
NOTE = part("labels", json.dumps({"note": SECRET}))


def body(data: bytes, parameters: str = "; boundary=b", path: str = "/jobs") -> bytes:
    return request("POST", path, FORM + parameters, body=data)


def raw_part(head: bytes, content: bytes = b"m") -> bytes:
    """A form of one part, whose head is written as it is, and of what makes it whole."""
    return body(form(head + b"\r\n\r\n" + content, FILE))


UNREADABLE = {
    "no boundary": body(form(MODEL, FILE), ""),
    "an empty boundary": body(form(MODEL, FILE), '; boundary=""'),
    "another boundary": body(form(MODEL, FILE), "; boundary=c"),
    "a boundary of 71": body(form(MODEL, FILE).replace(b"--b", b"--" + b"b" * 71), "; boundary=" + "b" * 71),
    "a boundary of 7,000": body(form(MODEL, FILE), "; boundary=" + "b" * 7000),
    "a boundary of other letters": body(form(MODEL, FILE), "; boundary=\xfc"),
    "empty": body(b""),
    "no parts": body(b"--b--\r\n"),
    "words": body(S),
    "cut off in a part": body(form(MODEL, FILE)[:-30]),
    "cut off in a head": body(form(MODEL, FILE)[:40]),
    "without its last line": body(form(MODEL, FILE)[: -len(b"--b--\r\n")]),
    "a part without a disposition": raw_part(b"X: " + S),
    "a part without a head": raw_part(b""),
    "a head that is no UTF-8": raw_part(b'Content-Disposition: form-data; name="\xff' + S + b'"'),
    "a text that is no UTF-8": body(form(part("model", b"m\xff" + S), FILE)),
    "labels that are no UTF-8": body(form(MODEL, FILE, part("labels", b'{"note": "\xe4' + S + b'"}'))),
    "a charset of its own": body(
        form(part("model", "m\u00e4".encode("latin1"), None, "Content-Type: text/plain; charset=iso-8859-1"), FILE)
    ),
    "UTF-16": body(
        form(part("model", "m".encode("utf-16"), None, "Content-Type: text/plain; charset=utf-16"), FILE)
    ),
    "100,000 line ends": body(b"--b" + b"\r\n" * 100_000),
    "a boundary and 400 kB of blanks": body(b"\r\n--b" + b" " * 400_000),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable(running: Running, case: str) -> None:
    running.check_refused(UNREADABLE[case], 400, "malformed-request")


WRONG = {
    "no file": ([MODEL, NOTE], "#/file"),
    "no model": ([FILE, NOTE], "#/model"),
    "an unknown text": ([MODEL, FILE, part("nope", SECRET)], "#/nope"),
    "an unknown file": ([MODEL, FILE, part("picture", PICTURE, SECRET)], "#/picture"),
    "the model as a file": ([part("model", "m", "m.txt"), FILE], "#/model"),
    "the file as a text": ([MODEL, part("file", "abc")], "#/file"),
    "the model twice": ([MODEL, part("model", "n"), FILE], "#/model"),
    "labels twice": ([MODEL, NOTE, NOTE, FILE], "#/labels"),
    "inputs": ([MODEL, FILE, part("inputs", "[]")], "#/inputs"),
    "tenant": ([MODEL, FILE, part("tenant", SECRET)], "#/tenant"),
    "_charset_": ([MODEL, FILE, part("_charset_", "utf-7")], "#/_charset_"),
    "_method": ([MODEL, FILE, part("_method", "DELETE")], "#/_method"),
    "a path for a name": ([MODEL, FILE, part("../../" + SECRET, "x")], f"#/../../{SECRET}"),
    "a bracket": ([MODEL, FILE, part("labels[note]", SECRET)], "#/labels[note]"),
    "the model in quotes": ([part("model", '"m"'), FILE], "#/model"),
    "the model a path": ([part("model", "../" + SECRET), FILE], "#/model"),
    "parameters an array": ([MODEL, FILE, part("parameters", "[]")], "#/parameters"),
    "parameters a number": ([MODEL, FILE, part("parameters", "1")], "#/parameters"),
    "top_k too large": ([MODEL, FILE, part("parameters", '{"top_k": 1000000000}')], "#/parameters/top_k"),
    "labels with an operator": ([MODEL, FILE, part("labels", '{"$where": "1"}')], "#/labels/$where"),
    "labels with a number": ([MODEL, FILE, part("labels", '{"a": 1}')], "#/labels/a"),
    "execute a word": ([MODEL, FILE, part("execute", '"yes"')], "#/execute"),
    "execute 1": ([MODEL, FILE, part("execute", "1")], "#/execute"),
    "deadline_s 0": ([MODEL, FILE, part("deadline_s", "0")], "#/deadline_s"),
    "deadline_s in quotes": ([MODEL, FILE, part("deadline_s", '"60"')], "#/deadline_s"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_fields(running: Running, case: str) -> None:
    parts, pointer = WRONG[case]
    answer = running.check_refused(send_form("/jobs", *parts), 422, "invalid-request", echoed=SECRET in pointer)
    assert pointer in [entry["pointer"] for entry in answer.json["errors"]]


NOT_JSON = {
    "parameters cut off": part("parameters", "{"),
    "parameters empty": part("parameters", ""),
    "parameters a word": part("parameters", SECRET),
    "parameters not finite": part("parameters", '{"min_score": NaN}'),
    "parameters with a key twice": part("parameters", '{"top_k": 1, "top_k": 2}'),
    "labels 100,000 levels deep": part("labels", "[" * 100_000),
    "labels with a surrogate": part("labels", '{"note": "\\ud800' + SECRET + '"}'),
    "labels with NUL": part("labels", '{"note": "\\u0000' + SECRET + '"}'),
    "labels with trailing garbage": part("labels", "{}" + SECRET),
    "labels with a byte order mark": part("labels", "\ufeff{}"),
    "execute a word": part("execute", "True"),
    "deadline_s 1e999999": part("deadline_s", "1e999999"),
    "deadline_s of 5,000 digits": part("deadline_s", "9" * 5000),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_fields_that_are_no_json(running: Running, case: str) -> None:
    answer = running.check_refused(send_form("/jobs", MODEL, FILE, NOT_JSON[case]), 400, "invalid-json")
    assert [entry["pointer"] for entry in answer.json["errors"]] == ["#/" + case.split()[0]]


TOO_LARGE = {
    "1,001 parts": send_form("/jobs", MODEL, *[part("file", S, "x")] * 1000),
    "1,001 texts": send_form("/jobs", FILE, *[part("model", S)] * 1000),
    "101 files": send_form("/jobs", MODEL, *[part("file", PICTURE, "x")] * 101),
    "a text of 600 kB": send_form("/jobs", MODEL, FILE, part("labels", S * 16_000)),
    "a part's head of 600 kB": body(form(b'X: "' + S * 16_000 + b'"\r\n\r\nm', FILE)),
    "words of 600 kB before the first part": body(S * 16_000 + b"\r\n" + form(MODEL, FILE)),
    "more than a body may have": send_form("/jobs", MODEL, part("file", bytes(2**20), "x")),
    "1,001 files to keep": send_form("/media", *[part("file", S, "x")] * 1001),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_too_large(running: Running, case: str) -> None:
    running.check_refused(TOO_LARGE[case], 413, "body-too-large")


TO_KEEP = {
    "no file": [part("other", SECRET)],
    "two files": [FILE, FILE],
    "a file and a text": [FILE, part("other", SECRET)],
    "a text for the file": [part("file", PICTURE)],
    "a file elsewhere": [part("picture", PICTURE, SECRET)],
}


@pytest.mark.parametrize("case", TO_KEEP)
def test_not_one_file_to_keep(running: Running, case: str) -> None:
    running.check_refused(send_form("/media", *TO_KEEP[case]), 422, "invalid-request")


@pytest.mark.parametrize("way", ["media", "jobs"])
def test_an_empty_file(running: Running, way: str) -> None:
    parts = [part("file", b"", SECRET)] if way == "media" else [MODEL, part("file", b"", SECRET)]
    running.check_refused(send_form("/" + way, *parts), 422, "picture-broken")


FILE_NAMES = {
    "a path": "../../../../etc/passwd",
    "a path of another system": "..\\..\\boot.ini",
    "a device": "NUL",
    "HTML": "<img src=x onerror=alert(1)>.png",
    "a command": "x.png; rm -rf ~ #$(id)`id`",
    "two extensions": "x.php.png",
    "an emoji": "\U0001f4a9.png",
    "turned text": "\u202egnp.exe",
    "a quote": 'x\\"; filename=y',
    "nothing": "",
    "10 kB": "x" * 10_000,
}


@pytest.mark.parametrize("case", FILE_NAMES)
def test_hostile_file_names_are_taken_and_not_used(running: Running, case: str) -> None:
    name, since = FILE_NAMES[case] + SECRET, running.log_size_bytes
    before = set(running.folder.rglob("*"))
    answer = running.send(send_form("/jobs", MODEL, part("file", PICTURE, name, "Content-Type: text/html")))
    assert answer.status == 202, answer.body
    added = set(running.folder.rglob("*")) - before
    assert not [path for path in added if SECRET in path.name]
    assert SECRET not in running.logged(since)


@pytest.mark.parametrize(
    "disposition",
    [
        b"Content-Disposition: form-data; name=\"model\"; filename*=utf-8''%2e%2e%2f" + S,
        b'Content-Disposition: attachment; name="model"; filename="' + S + b'"',
    ],
)
def test_a_text_that_calls_itself_a_file(running: Running, disposition: bytes) -> None:
    running.check_refused(raw_part(disposition), 422, "invalid-request")


BASE64 = {
    "no data: URL": SECRET,
    "empty": "",
    "another scheme": "file:///etc/passwd;base64," + SECRET,
    "upper case": "DATA:image/png;base64,AAAA",
    "no comma": "data:image/png;base64" + SECRET,
    "not in base64": "data:image/png," + SECRET,
    "in base64, and then not": "data:image/png;base64;charset=utf-8,AAAA",
    "in something like base64": "data:image/png;base64x,AAAA",
    "percent-encoded": "data:image/png;base64,%41%41%41%41",
    "a bad alphabet": "data:image/png;base64,%%%%" + SECRET,
    "the alphabet of URLs": "data:image/png;base64,__--" + "A" * 4,
    "bad padding": "data:image/png;base64,AAAAA",
    "too much padding": "data:image/png;base64,AAAA====",
    "padding within": "data:image/png;base64,AA==" + "A" * 8,
    "a line break": data_url(picture())[:60] + "\n" + data_url(picture())[60:],
    "a blank": data_url(picture())[:60] + " " + data_url(picture())[60:],
    "other digits": "data:image/png;base64,\uff21\uff21\uff21\uff21",
    "300 kB of parameters": "data:image/png" + ";a=b" * 75_000 + ";base64,AAAA",
    "a header in it": "data:image/png\r\nX: y;base64," + SECRET,
}


@pytest.mark.parametrize("case", BASE64)
def test_bad_base64(running: Running, case: str) -> None:
    answer = running.check_refused(post_json("/jobs", job(inputs=[{"data": BASE64[case]}])), 422, "invalid-request")
    assert [entry["pointer"] for entry in answer.json["errors"]] == ["#/inputs/0/data"]


@pytest.mark.parametrize(
    "media_type", ["text/html", "image", "text/plain", "application/json", "video/mp4", "multipart/x"]
)
def test_base64_of_no_picture(running: Running, media_type: str) -> None:
    status, name = (415, "unsupported-media") if "/" in media_type else (422, "invalid-request")
    data = data_url(b"<p>" + S, media_type)
    running.check_refused(post_json("/jobs", job(inputs=[{"data": data}])), status, name)


def test_base64_that_says_nothing_is_decoded_by_its_content(running: Running) -> None:
    for data in (data_url(b"<script>" + S, "image/png"), data_url(b"<svg>" + S, "application/octet-stream")):
        running.check_refused(post_json("/jobs", job(inputs=[{"data": data}])), 415, "unsupported-media")
