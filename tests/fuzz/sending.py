"""One request over HTTP, and what came back. A live stream is read up to its first bytes."""

import shlex
from typing import Any

import requests

from .making import STREAM, Asked

_CONNECT_S, _ANSWER_S = 5.0, 30.0


class Sender:
    """A client of one service. Not for several threads."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False

    def send(self, asked: Asked) -> requests.Response | str:
        """The answer; or what was sent, where there was none, twice."""
        prepared = self._prepared(asked)
        for _ in range(2):
            try:
                answer = self._session.send(
                    prepared, stream=True, timeout=(_CONNECT_S, _ANSWER_S), allow_redirects=False
                )
                if answer.headers.get("Content-Type", "").startswith(STREAM):
                    answer._content = next(answer.iter_content(None), b"")  # the rest never ends
                    answer.close()
                else:
                    _ = answer.content
                return answer
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                continue  # a connection that the server had closed meanwhile; the second one is fresh
            except requests.Timeout:
                break
        return curl(prepared)

    def _prepared(self, asked: Asked) -> requests.PreparedRequest:
        sent = asked.case.as_transport_kwargs(base_url=self._base_url)
        fields = ("method", "url", "headers", "files", "data", "json", "params", "cookies")
        prepared = self._session.prepare_request(requests.Request(**{k: sent[k] for k in fields if k in sent}))
        prepared.headers.update(asked.headers)
        if asked.content is not None:
            body, media_type = asked.content
            prepared.headers.pop("Content-Length", None)  # an empty body would keep that of the one before it
            prepared.prepare_body(body, None)
            prepared.headers["Content-Type"] = media_type
        return prepared

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def curl(request: requests.PreparedRequest, body_size_bytes_max: int = 4_000) -> str:
    """A shell command that sends the request again. A body that is too long for a line is only named."""
    words = ["curl", "-i", "-X", str(request.method)]
    for name, value in request.headers.items():
        if name.lower() not in ("content-length", "connection", "accept-encoding", "user-agent"):
            words += ["-H", shlex.quote(f"{name}: {_text(value)}" if value else f"{name};")]
    body: Any = request.body
    if body is not None:
        data = body if isinstance(body, bytes) else str(body).encode()
        shown = "".join(_shown(b) for b in data[:body_size_bytes_max])
        more = f"  # … {len(data)} bytes" if len(data) > body_size_bytes_max else ""
        words += ["--data-binary", f"$'{shown}'{more}"]
    words.insert(1, shlex.quote(str(request.url)))
    return " ".join(words)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _shown(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}"
