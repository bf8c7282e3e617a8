"""The web pages: shells of HTML whose modules read this API and post to the command API.

Nothing in them comes from elsewhere, and nothing of a user's is ever put in as HTML: shells hold settings only, and
the modules write text nodes.
"""

import mimetypes
from importlib.resources import files
from pathlib import Path

from flask import Flask, Response, jsonify, render_template, request, send_file, send_from_directory

from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.settings import Settings

_PAGES = {
    "/": ("upload.html", "Develop pictures", "upload.js"),
    "/jobs": ("jobs.html", "Jobs", "jobs.js"),
    "/jobs/<string:job>": ("job.html", "Job", "job.js"),
    "/monitor": ("monitor.html", "Monitor", "monitor.js"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAMPLE_TYPES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
SAMPLES_MAX = 24


def register(app: Flask, settings: Settings) -> None:
    """Serves the pages, their assets, and the sample pictures, all outside the API's prefix."""
    policy = _POLICY.format(settings.command_url)
    assets = str(files("darkroom.query_api") / "assets")
    mimetypes.add_type("text/javascript", ".js")  # some systems' tables say otherwise, and modules need it

    def page(template: str, title: str, script: str) -> Response:
        html = render_template(
            template,
            title=title,
            script=script,
            path=request.path,
            command_url=settings.command_url,
            picture_pixels_max=settings.picture_pixels_max,
        )
        response = Response(html, mimetype="text/html")
        response.headers["Content-Security-Policy"] = policy
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-cache"
        return response

    def register_page(rule: str, template: str, title: str, script: str) -> None:
        def view(**_path: str) -> Response:
            return page(template, title, script)

        app.add_url_rule(rule, endpoint=f"page:{rule}", view_func=view)

    for rule, (template, title, script) in _PAGES.items():
        register_page(rule, template, title, script)

    @app.get("/assets/<path:name>")
    def asset(name: str) -> Response:
        return send_from_directory(assets, name, max_age=0)

    samples = sample_pictures(settings)

    @app.get("/samples")
    def sample_list() -> Response:
        return jsonify({"items": [{"name": name, "url": f"/samples/{name}"} for name in samples]})

    @app.get("/samples/<string:name>")
    def sample(name: str) -> Response:
        if name not in samples:
            raise ProblemError("not-found", "There is no such sample.")
        return send_file(samples[name], max_age=3600)


def sample_pictures(settings: Settings) -> dict[str, Path]:
    """The sample pictures by name: those of the settings' folder, or of the checkout that this runs from."""
    folder = Path(settings.samples) if settings.samples else Path(__file__).parents[4] / "models" / "samples"
    if not folder.is_dir():
        return {}
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SAMPLE_TYPES and p.is_file())
    return {p.name: p for p in found[:SAMPLES_MAX]}
