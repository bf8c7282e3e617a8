"""Swagger UI from a package's files (no CDN), with both services' documents in its menu."""

from importlib.resources import files

from flask import Flask, Response, jsonify, redirect, render_template_string, send_from_directory
from werkzeug.wrappers import Response as AnyResponse

from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.settings import Settings

_ASSETS = frozenset(
    {
        "swagger-ui.css",
        "index.css",
        "swagger-ui-bundle.js",
        "swagger-ui-standalone-preset.js",
        "favicon-32x32.png",
        "favicon-16x16.png",
    }
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<link rel="stylesheet" href="swagger-ui.css"><link rel="stylesheet" href="index.css">
<link rel="icon" type="image/png" href="favicon-32x32.png" sizes="32x32"></head>
<body><div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script><script src="swagger-ui-standalone-preset.js"></script>
<script src="start.js"></script></body></html>
"""
_START = """"use strict";
fetch("config.json").then((answer) => answer.json()).then((config) => {
  window.ui = SwaggerUIBundle({
    ...config,
    dom_id: "#swagger-ui",
    deepLinking: true,
    displayRequestDuration: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
    plugins: [SwaggerUIBundle.plugins.DownloadUrl],
    layout: "StandaloneLayout",
  });
});
"""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def register(app: Flask, prefix: str, title: str, settings: Settings) -> None:
    """Serves the UI at `ui/` below the prefix."""
    folder = str(files("flask_swagger_ui") / "dist")
    documents = [
        {"name": "Command API", "url": f"{settings.command_url}{prefix}/openapi.json"},
        {"name": "Query API", "url": f"{settings.query_url}{prefix}/openapi.json"},
    ]
    policy = _POLICY.format(f"'self' {settings.command_url} {settings.query_url}")

    @app.get(f"{prefix}/ui")
    def swagger_redirect() -> AnyResponse:
        return redirect(f"{prefix}/ui/")

    @app.get(f"{prefix}/ui/")
    def swagger_page() -> Response:
        response = Response(render_template_string(_PAGE, title=title), mimetype="text/html")
        response.headers["Content-Security-Policy"] = policy
        return response

    @app.get(f"{prefix}/ui/start.js")
    def swagger_start() -> Response:
        return Response(_START, mimetype="text/javascript")

    @app.get(f"{prefix}/ui/config.json")
    def swagger_config() -> Response:
        return jsonify({"urls": documents, "urls.primaryName": _own(title, documents)})

    @app.get(f"{prefix}/ui/<name>")
    def swagger_asset(name: str) -> Response:
        if name not in _ASSETS:
            raise ProblemError("not-found", "Swagger UI has no such file.")
        return send_from_directory(folder, name, max_age=3600)


def _own(title: str, documents: list[dict[str, str]]) -> str:
    """The name of the document to show first: that of the service whose page it is."""
    return next((d["name"] for d in documents if d["name"].split()[0].lower() in title.lower()), "Command API")
