"""The route of uploads."""

from dataclasses import asdict
from typing import Any

from flask import request

from darkroom.command_api import documents as doc
from darkroom.command_api.uploads import read_one_file
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.media import MediaDoor


def media_routes(door: MediaDoor) -> Blueprint:
    """The blueprint of `/media`."""
    routes = Blueprint("media", __name__, description="Uploads: pictures, kept under their sha256")

    @routes.route("/media", methods=["POST"])
    @routes.doc(requestBody=doc.MEDIA_BODY, parameters=[doc.TRACE_PARAMETER], operationId="uploadMedia")
    @routes.response(201, doc.MediaKept, example=doc.MEDIA_EXAMPLE)
    @problems(
        "malformed-request",
        "body-too-large",
        "picture-too-large",
        "unsupported-media-type",
        "unsupported-media",
        "invalid-request",
        "picture-broken",
        "picture-too-slow",
        "store-unavailable",
        "too-busy",
    )
    def upload_media() -> dict[str, Any]:
        """Keep a picture

        As the raw body, or as the part `file` of a multipart body. The content decides what it is; names and
        declared types are not used. The same bytes give the same digest.
        """
        return asdict(door.keep(read_one_file(request)))

    return routes
