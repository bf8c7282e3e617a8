"""URLs of pictures and models: the service fetches nothing yet, so each is refused, and nothing is connected to."""

import socket
from collections.abc import Iterator
from itertools import product

import pytest

from .running import SECRET, Running, job, post_json, request

HOSTS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f000001",
    "0x7f.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost.localdomain",
    "127.0.0.1.nip.io",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[::1%25lo]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "192.0.0.192",
    "100.100.100.200",
    "metadata.google.internal",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "example.com",
]
SHAPES = [
    "http://{host}:{port}/cat.jpg",
    "https://{host}:{port}/cat.jpg?key={secret}",
    "http://user:{secret}@{host}:{port}/cat.jpg",
    "http://example.com@{host}:{port}/#{secret}",
]
ODD = [
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "FILE:/etc/passwd",
    "gopher://127.0.0.1:{port}/_GET%20/{secret}",
    "dict://127.0.0.1:{port}/x",
    "ftp://user:{secret}@127.0.0.1:{port}/",
    "sftp://127.0.0.1:{port}/",
    "ldap://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}/x!/y",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "s3://bucket/key",
    "gs://bucket/key",
    "unix:/var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/x",
    "//127.0.0.1:{port}/cat.jpg",
    "/etc/passwd",
    "cat.jpg",
    "",
    " http://127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:/\\127.0.0.1:{port}/",
    "http://127.0.0.1\\@example.com:{port}/",
    "http://example.com#@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nHost: x",
    "http://127.0.0.1:{port}/%0d%0aX: {secret}",
    "http://127.0.0.1:22/",
    "http://127.0.0.1:9092/",
    "http://127.0.0.1:27017/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http://[::1",
    "http://]",
    "http://",
    "http://{secret}.example.com:{port}/" + "x" * 1800,
]
FORMS = [shape.replace("{host}", host) for shape, host in product(SHAPES, HOSTS)] + ODD


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """Listens where the URLs point to."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.setblocking(False)
        yield found


@pytest.mark.parametrize("form", FORMS)
def test_urls_of_pictures(running: Running, listener: socket.socket, form: str) -> None:
    url = form.replace("{port}", str(listener.getsockname()[1])).replace("{secret}", SECRET)
    body = post_json("/jobs", job(inputs=[{"url": url}]))
    answer = running.check_refused(body, 422, "picture-url-not-supported")
    assert [entry["pointer"] for entry in answer.json["errors"]] == ["#/inputs/0/url"]
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_there_are_enough_forms() -> None:
    assert len(set(FORMS)) >= 150


@pytest.mark.parametrize(
    ("url", "pointer"),
    [
        ("http://x/" + SECRET * 60, "#/inputs/0/url"),
        (None, "#/inputs/0/url"),
        (1, "#/inputs/0/url"),
        ([SECRET], "#/inputs/0/url"),
        ({"$ne": SECRET}, "#/inputs/0/url"),
    ],
    ids=["too long", "null", "a number", "an array", "an operator"],
)
def test_no_urls(running: Running, url: object, pointer: str) -> None:
    answer = running.check_refused(post_json("/jobs", job(inputs=[{"url": url}])), 422, "invalid-request")
    assert pointer in [entry["pointer"] for entry in answer.json["errors"]]


@pytest.mark.parametrize("source", ["url", "hub", "file", "folder", "archive"])
def test_sources_of_models(running: Running, listener: socket.socket, source: str) -> None:
    reference = f"http://user:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/model"
    body = {"source": {"type": source, "reference": reference}}
    running.check_refused(post_json("/models/n/versions/1", body, method="PUT"), 422, "source-not-supported")
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_url_in_a_header_or_a_query(running: Running, listener: socket.socket) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/{SECRET}"
    headers = (
        f"Location: {url}",
        f"Referer: {url}",
        f"Origin: {url}",
        f"Content-Location: {url}",
        f"Link: <{url}>",
    )
    running.check_refused(request("POST", "/media", *headers), 422, "picture-broken")
    running.check_refused(request("POST", f"/media?url={url}"), 422, "invalid-request")
    with pytest.raises(BlockingIOError):
        listener.accept()
