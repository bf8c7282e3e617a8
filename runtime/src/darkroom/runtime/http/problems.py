"""The catalogue of problem types (RFC 9457): every error that a client, or a run's result, can show.

A type is `urn:darkroom:problem:<name>`, stable for ever, and described on a page of the APIs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "urn:darkroom:problem:"
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of problem. `statuses`: the HTTP statuses it may come with, the usual one first; none for a problem
    that only stands in the result of a run. `explanation`: what happened, and what to do about it."""

    name: str
    statuses: tuple[int, ...]
    title: str
    explanation: str

    @property
    def type(self) -> str:
        return PREFIX + self.name


def _catalogue(*kinds: Kind) -> Mapping[str, Kind]:
    return {kind.name: kind for kind in kinds}


PROBLEMS: Mapping[str, Kind] = _catalogue(
    Kind(
        "invalid-json",
        (400,),
        "The body is not JSON that can be used",
        "The body must be one JSON text in UTF-8 (RFC 8259): no NaN or Infinity, no key twice in an object, no "
        "lone surrogates or NUL in strings, at most 32 levels deep.",
    ),
    Kind(
        "malformed-request",
        (400,),
        "The request is malformed",
        "The request could not be read as HTTP, or its body is not what its Content-Type says.",
    ),
    Kind(
        "malformed-header",
        (400,),
        "A header is malformed",
        "The detail names the header. An Idempotency-Key is 1 to 255 visible ASCII characters, no comma"
        " among them.",
    ),
    Kind(
        "malformed-position",
        (400,),
        "A position is malformed",
        "Positions are opaque: pass on what an answer gave, without change.",
    ),
    Kind(
        "not-found",
        (404,),
        "There is nothing here",
        "No page of this API has that path. See openapi.json for all of them.",
    ),
    Kind(
        "unknown-job",
        (404,),
        "There is no such job",
        "No job has that id. Ids are UUIDs, as given in the answer to the job's creation.",
    ),
    Kind(
        "unknown-model",
        (422, 404),
        "There is no such model",
        "No model of that name and version is registered. The query API lists all models under `models`.",
    ),
    Kind(
        "unknown-schema",
        (404,),
        "There is no such schema",
        "Schemas are named after event types, such as darkroom.job.created.v1.",
    ),
    Kind(
        "method-not-allowed",
        (405,),
        "The method is not allowed here",
        "The Allow header of the answer names the methods that are.",
    ),
    Kind(
        "not-acceptable", (406,), "The answer does not come in that form", "Ask for another media type in Accept."
    ),
    Kind(
        "request-timeout",
        (408,),
        "The request came too slowly",
        "The body did not arrive within the time that a request may take. Send it again over a faster connection.",
    ),
    Kind(
        "job-state",
        (409,),
        "The job's state forbids it",
        "The job stands where this command is not possible; `job_status` names the state. Read the job again.",
    ),
    Kind("job-deleted", (410,), "The job was deleted", "A deleted job cannot be used any more. Create a new one."),
    Kind(
        "model-retired",
        (422, 410),
        "The model is retired",
        "That version of the model may not be used for new runs. Use another version.",
    ),
    Kind(
        "version-differs",
        (412,),
        "The job has changed",
        "The job's version is not the one in If-Match. Read the job again and decide anew.",
    ),
    Kind(
        "body-too-large",
        (413,),
        "The body is too large",
        "The request's body, one of its parts, or the number of its parts is over the limit that the detail names. "
        "Upload large files one by one under `media`.",
    ),
    Kind(
        "inputs-too-large",
        (413,),
        "The inputs are too large together",
        "The sizes of all inputs of a job are added up, a picture that is named twice counting twice. Spread the "
        "pictures over several jobs.",
    ),
    Kind(
        "picture-too-large",
        (413,),
        "The picture is too large",
        "The picture has more pixels or bytes than this service takes. Scale it down before it is sent.",
    ),
    Kind("uri-too-long", (414,), "The address is too long", "Shorten the query string."),
    Kind(
        "unsupported-media-type",
        (415,),
        "The body's media type is not supported",
        "Send application/json or multipart/form-data, as the call's description says, without content encoding.",
    ),
    Kind(
        "unsupported-media",
        (415,),
        "The picture's format is not supported",
        "Pictures may be JPEG, PNG, BMP, GIF or WebP. The content decides, not the name.",
    ),
    Kind(
        "invalid-request",
        (422,),
        "The request is well-formed, but wrong",
        "`errors` names each field that is unknown, missing or out of range.",
    ),
    Kind(
        "picture-broken",
        (422,),
        "The picture cannot be decoded",
        "The file begins like a picture but cannot be read to its end. It may have been cut off on the way.",
    ),
    Kind(
        "picture-too-slow",
        (422,),
        "The picture takes too long to decode",
        "Decoding it takes more processor time than a picture may take here. Save it again in a plain form (a JPEG "
        "that is not progressive, a file without large comments), or scale it down.",
    ),
    Kind(
        "unknown-media",
        (422,),
        "There is no such upload",
        "Nothing was uploaded under that digest. Upload the picture under `media` first.",
    ),
    Kind(
        "picture-url-not-supported",
        (422,),
        "Picture URLs are not supported yet",
        "This service fetches no pictures yet. Upload the picture under `media`, or send it as a data: URL.",
    ),
    Kind(
        "source-not-supported",
        (422,),
        "The service cannot fetch models yet",
        "Download the model and register it as multipart with a `description` and a `file`.",
    ),
    Kind(
        "unsupported-model",
        (415,),
        "The model's file format is not supported",
        "A model is a TensorFlow Lite file (.tflite), or a gzipped tar archive of a TF2 SavedModel (.tar.gz).",
    ),
    Kind(
        "key-reused",
        (422,),
        "The id or key was used with another request",
        "An id or idempotency key belongs to one request. Use a fresh one for another request.",
    ),
    Kind(
        "not-supported-yet",
        (422,),
        "That is not supported yet",
        "The call is part of the contract, but this version of the service does not do it.",
    ),
    Kind("rate-limited", (429,), "Too many requests", "Wait as long as Retry-After says."),
    Kind("headers-too-large", (431,), "The headers are too large", "Send fewer or shorter headers."),
    Kind(
        "internal-error",
        (500,),
        "The service failed",
        "This is a fault of the service. Report it with the answer's X-Request-Id.",
    ),
    Kind("not-implemented", (501,), "The service does not do that", "Use another form of the request."),
    Kind(
        "log-unavailable",
        (503,),
        "The log does not answer",
        "The event log did not acknowledge in time. The command may still take effect: repeat it under its "
        "Idempotency-Key, and it takes effect once.",
    ),
    Kind(
        "tail-behind",
        (503,),
        "This instance has not caught up with the log",
        "The command was not decided on old knowledge, or its verdict is not known yet. Repeat it under its "
        "Idempotency-Key.",
    ),
    Kind(
        "store-unavailable",
        (503,),
        "A store does not answer",
        "The database or the blob store did not answer in time. Try again after Retry-After.",
    ),
    Kind(
        "read-model-behind",
        (503,),
        "The read model has not reached that position yet",
        "The command is safe in the log; the read model will show it. Try again after Retry-After.",
    ),
    Kind("too-busy", (503,), "Too much at once", "This instance serves as much as it can. Try again later."),
    Kind("not-ready", (503,), "The service is not ready", "It is starting, or a part it needs is away."),
    Kind(
        "model-crashed",
        (),
        "The model crashed its process",
        "The process that ran the model died. The run is tried again until its attempts are used up.",
    ),
    Kind(
        "model-digest-mismatch",
        (),
        "The model's files are not the registered ones",
        "The executor refuses files whose digest differs from the registered one. Register the model again.",
    ),
    Kind(
        "model-unsupported",
        (),
        "The model needs what this executor does not have",
        "The detail names what is missing, such as an operation of another device.",
    ),
    Kind(
        "model-invalid",
        (),
        "The model cannot be used",
        "The file cannot be loaded, or does not give what its description says.",
    ),
    Kind(
        "model-busy",
        (),
        "The model was busy elsewhere",
        "Other work held the model for too long. The run is tried again until its attempts are used up.",
    ),
    Kind(
        "request-unreadable",
        (),
        "The request cannot be read",
        "The event that asked for the run cannot be read by this executor, as when a newer version wrote it. Run "
        "the job again.",
    ),
    Kind(
        "media-missing",
        (),
        "A picture is gone",
        "The blob store does not hold a picture of the job any more. Upload it again, and run the job again.",
    ),
    Kind(
        "executor-stopped",
        (),
        "The executor was stopped",
        "The executor was told to stop before the run was done. The run is tried again until its attempts are used "
        "up.",
    ),
    Kind("deadline-exceeded", (), "The run took too long", "Give the run a longer deadline_s."),
    Kind(
        "executor-lost",
        (),
        "The executor was lost",
        "Nothing was heard of the executor for its lease. The run is tried again until its attempts are used up.",
    ),
    Kind(
        "attempts-exhausted",
        (),
        "The run failed too often",
        "Every attempt at this run ended without a result; the detail says how the last one ended.",
    ),
)


class ProblemError(Exception):
    """Ends a request with a problem. Raise it anywhere below a route.

    `errors`: (pointer, detail) pairs, with pointers as `#/inputs/0/media` (JSON Pointer into the body), `?limit`
    (query) or a header's name. `more`: extension members.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        status: int | None = None,
        errors: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.kind = PROBLEMS[name]
        self.detail = detail
        self.status = status or self.kind.statuses[0]
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.more = more

    def body(self) -> dict[str, Any]:
        """The members of the problem+json body."""
        found = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }
        if self.errors:
            found["errors"] = [{"pointer": p, "detail": d} for p, d in self.errors]
        return found
