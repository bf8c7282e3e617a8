"""Pages to look things up: what a problem type means, and the JSON Schema of an event type."""

from flask import Flask, Response, jsonify, render_template_string, request

from darkroom.runtime.http.problems import PROBLEMS, ProblemError

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; font: 17px/1.55 system-ui, sans-serif }
body { max-width: 42rem; margin: 3rem auto; padding: 0 1rem }
code { font: .92em ui-monospace, monospace } dt { margin-top: 1.2rem } dd { margin: .2rem 0 0 }
</style>
<h1>{{ title }}</h1>
{% if kind %}
<p><code>{{ kind.type }}</code>{% if kind.statuses %} · HTTP {{ kind.statuses | join(" or ") }}{% endif %}</p>
<p>{{ kind.explanation }}</p>
<p><a href=".">All problem types</a></p>
{% else %}
<dl>{% for kind in kinds %}
<dt><a href="{{ kind.name }}"><code>{{ kind.name }}</code></a> {{ kind.title }}</dt>
{% endfor %}</dl>
{% endif %}
"""


def register(app: Flask, prefix: str) -> None:
    """Serves `problems/`, `problems/{name}`, `schemas/` and `schemas/{type}` below the prefix."""

    @app.get(f"{prefix}/problems/")
    def problem_kinds() -> Response | str:
        if _wants_json():
            return jsonify({"items": [_described(name) for name in PROBLEMS]})
        return render_template_string(_PAGE, title="Problem types", kind=None, kinds=PROBLEMS.values())

    @app.get(f"{prefix}/problems/<name>")
    def problem_kind(name: str) -> Response | str:
        kind = PROBLEMS.get(name)
        if kind is None:
            raise ProblemError("not-found", "There is no such problem type.")
        if _wants_json():
            return jsonify(_described(name))
        return render_template_string(_PAGE, title=kind.title, kind=kind)

    @app.get(f"{prefix}/schemas/")
    def schema_names() -> Response:
        from darkroom.schemas.jsonschema import event_types

        return jsonify({"items": [{"type": t, "url": f"{prefix}/schemas/{t}"} for t in event_types()]})

    @app.get(f"{prefix}/schemas/<event_type>")
    def schema(event_type: str) -> Response:
        from darkroom.schemas.jsonschema import json_schema

        try:
            found = json_schema(event_type)
        except KeyError:
            raise ProblemError("unknown-schema", "There is no schema of that type.") from None
        response = jsonify(found)
        response.mimetype = "application/schema+json"
        return response


def _wants_json() -> bool:
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _described(name: str) -> dict[str, object]:
    kind = PROBLEMS[name]
    return {
        "name": kind.name,
        "type": kind.type,
        "statuses": list(kind.statuses),
        "title": kind.title,
        "explanation": kind.explanation,
    }
