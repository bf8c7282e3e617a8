"""Forms at the door: cut-off bodies are noticed, and text fields come through byte by byte.

Werkzeug puts a replacement character for every byte that is no UTF-8, and reads a text in whatever charset its part
names; here the charset is UTF-8, and what is not in it is refused (`text_of`).
"""

from typing import IO, Any
from wsgiref.types import WSGIEnvironment

from flask import Request
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.formparser import FormDataParser, MultiPartParser

_BYTE_BY_BYTE = "iso-8859-1"


class _Parts(MultiPartParser):
    def get_part_charset(self, headers: Headers) -> str:
        return _BYTE_BY_BYTE


class _Forms(FormDataParser):
    def _parse_multipart(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str]
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, Any]]:
        parts = _Parts(self.stream_factory, self.max_form_memory_size, self.cls, max_form_parts=self.max_form_parts)
        boundary = options.get("boundary", "").encode("ascii")  # UnicodeEncodeError: a form that cannot be read
        return stream, *parts.parse(stream, boundary, content_length)


class DoorRequest(Request):
    """A request whose body is all there, or is refused; its form's texts are for `text_of`. It closes the temporary
    files of a multipart body also where reading it was given up half way."""

    form_data_parser_class = _Forms

    def __init__(self, environ: WSGIEnvironment, *args: Any, **more: Any) -> None:
        if environ.get("CONTENT_LENGTH"):
            # The server's mark says that it ends every body, also one that was cut off. Without it werkzeug counts.
            environ.pop("wsgi.input_terminated", None)
        super().__init__(environ, *args, **more)

    def _get_file_stream(self, *args: Any, **more: Any) -> IO[bytes]:
        stream = super()._get_file_stream(*args, **more)
        self.__dict__.setdefault("_opened", []).append(stream)
        return stream

    def close(self) -> None:
        super().close()
        for stream in self.__dict__.pop("_opened", []):
            stream.close()


def text_of(value: str) -> bytes:
    """The bytes of a form's text field, as they were sent."""
    return value.encode(_BYTE_BY_BYTE)
