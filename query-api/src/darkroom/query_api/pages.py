"""The web pages: shells of HTML whose modules read this API and post to the command API.

Nothing in them comes from elsewhere, and nothing of a user's is ever put in as HTML: shells hold settings only, and
the modules write text nodes.
"""

from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from flask import Flask, Response, jsonify, render_template, request

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
_ASSET_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_SAMPLE_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
SAMPLES_MAX = 24


def register(app: Flask, settings: Settings) -> None:
    """Serves the pages, their assets, and the sample pictures, all outside the API's prefix."""
    policy = _POLICY.format(settings.command_url)
    assets = dict(_assets(files("darkroom.query_api") / "assets"))

    def page(template: str, title: str, script: str) -> Response:
        html = render_template(
            template,
            title=title,
            script=script,
            path=request.path,
            command_url=settings.command_url,
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
        if name not in assets:
            raise ProblemError("not-found", "There is no such file.")
        return _file(assets[name], _ASSET_TYPES[name.rsplit(".", 1)[-1]])

    samples = sample_pictures(settings)

    @app.get("/samples")
    def sample_list() -> Response:
        return jsonify({"items": [{"name": name, "url": f"/samples/{name}"} for name in samples]})

    @app.get("/samples/<string:name>")
    def sample(name: str) -> Response:
        if name not in samples:
            raise ProblemError("not-found", "There is no such sample.")
        return _file(samples[name].read_bytes(), _SAMPLE_TYPES[samples[name].suffix.lower()])


def _assets(folder: Traversable, below: str = "") -> Iterator[tuple[str, bytes]]:
    """Every file of the pages by its path: a few tens of kB, kept in memory."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _assets(entry, f"{below}{entry.name}/")
        elif entry.name.rsplit(".", 1)[-1] in _ASSET_TYPES:
            yield below + entry.name, entry.read_bytes()


def _file(data: bytes, media_type: str) -> Response:
    """Asked for again each time, but sent only once for the same content."""
    response = Response(data, mimetype=media_type)
    response.set_etag(sha256(data).hexdigest()[:20])
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


def sample_pictures(settings: Settings) -> dict[str, Path]:
    """The sample pictures by name: those of the settings' folder, or of the checkout that this runs from."""
    folder = Path(settings.samples) if settings.samples else Path(__file__).parents[4] / "models" / "samples"
    if not folder.is_dir():
        return {}
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SAMPLE_TYPES and p.is_file())
    return {p.name: p for p in found[:SAMPLES_MAX]}
