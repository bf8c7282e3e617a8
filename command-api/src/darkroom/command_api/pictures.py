"""The inputs of a job: each one an upload of before, or bytes that come with the request."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from darkroom.command_api.uploads import decode_data_url
from darkroom.runtime.blobs import digest_of
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.media import MediaDoor
from darkroom.schemas.errors import BadMedia, Unavailable
from darkroom.schemas.job import Media

_TOGETHER_S = 15.0
"""A hundred pictures of some seconds each would keep a thread, and the decoder, for minutes."""


@dataclass(frozen=True, slots=True)
class Given:
    """An input as it was given. `data` is None where only the digest of an earlier upload was."""

    pointer: str
    digest: str
    data: bytes | None


def given_in_json(inputs: Sequence[dict[str, Any]], size_bytes_max: int) -> list[Given]:
    """The inputs of a JSON body. Raises ProblemError for URLs (not supported yet) and for broken base64."""
    found: list[Given] = []
    for number, item in enumerate(inputs):
        at = f"#/inputs/{number}"
        if "url" in item:
            raise ProblemError(
                "picture-url-not-supported",
                "Picture URLs are not supported yet.",
                errors=[(f"{at}/url", "Not supported yet.")],
            )
        if "media" in item:
            found.append(Given(f"{at}/media", item["media"], None))
        else:
            data = decode_data_url(item["data"], f"{at}/data", size_bytes_max)
            found.append(Given(f"{at}/data", digest_of(data), data))
    return found


def given_as_files(files: Sequence[bytes]) -> list[Given]:
    """The inputs of a multipart body, in the order of its parts."""
    return [Given(f"#/file/{number}", digest_of(data), data) for number, data in enumerate(files)]


def take(
    door: MediaDoor, inputs: Sequence[Given], size_bytes_max: int, together_s: float = _TOGETHER_S
) -> tuple[Media, ...]:
    """Checks and keeps every input. Raises ProblemError naming the one that cannot be used, or 413 if they have
    more than `size_bytes_max` together; Unavailable if they take longer than `together_s`. Those that were done by
    then are kept, so that a repetition gets further."""
    until = monotonic() + together_s
    found: list[Media] = []
    for item in inputs:
        if found and monotonic() > until:
            raise Unavailable("The pictures take too long to decode in one request. Upload them one by one.")
        found.append(_take(door, item))
    check_sizes(found, size_bytes_max)
    return tuple(found)


def check_sizes(inputs: Sequence[Media], size_bytes_max: int) -> None:
    """Raises ProblemError (413) if the inputs of a run have more bytes together. A picture that is named twice
    counts twice: it is decoded twice, too."""
    size_bytes = sum(item.size_bytes for item in inputs)
    if size_bytes > size_bytes_max:
        detail = f"The inputs have {size_bytes} bytes together; a job may have at most {size_bytes_max}."
        raise ProblemError("inputs-too-large", detail, errors=[("#/inputs", "Too large together.")])


def _take(door: MediaDoor, item: Given) -> Media:
    try:
        media = door.find(item.digest) if item.data is None else door.keep(item.data)
    except BadMedia as error:
        raise ProblemError(error.problem, error.detail, errors=[(item.pointer, error.detail)]) from None
    if media is None:
        raise ProblemError(
            "unknown-media",
            "No picture was uploaded under that digest.",
            errors=[(item.pointer, "There is no such upload.")],
        )
    return media
