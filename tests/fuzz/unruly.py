"""Values that a document does not speak of, and that have broken services: put anywhere into a request."""

import base64
import string
from collections.abc import Callable
from random import Random
from typing import Any

TEXTS = (
    " ", "null", "true", "-1", "0", "-0", "1e999", "NaN", "9" * 40, "0x10", "1.5", "١", "\u00a0", "\u200b",
    "a" * 300, "é" * 64, "🙂" * 40, "%00", "%2e%2e", "..", "..\\..\\etc", "a.b.c", "$where", "{}", "[]", "<script>",
    "' or 1=1 --", "{{7*7}}", "${jndi:ldap://x}", "__proto__", "\u202eabc", "\ufffe", "a\tb", "=", "&",
    ";", "#", "?", "sha256:", "sha256:" + "0" * 64, "@", "@1", "shapes-classifier@",
    "00000000-0000-0000-0000-000000000000", "MS4zLjE3LjVrN1Z4dw", "wait=1", '"1"', "*", 'W/"1"', "batch:", ":",
    "2026-11-22T10:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00",
    "data:image/png;base64,", "data:image/png;base64,AAAA",
)  # fmt: skip
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1.5, -0.0, 2**31, 2**63, 2**64, -(2**63), 10**30, 1e308, 5e-324, "", "\0", "\ud800",
    [], {}, [[]], [None], {"": None}, {"$set": 1}, {"a.b": 1}, {"__proto__": {}}, [0] * 200,
    {str(n): n for n in range(50)},
)  # fmt: skip
BODIES = (
    b"", b" ", b"{", b"}", b"null", b"[]", b"1", b'"x"', b"NaN", b'{"a":1,"a":2}', b"\xff\xfe{}", b"\xef\xbb\xbf{}",
    b'{"model":"\xff"}', b"[" * 5000, b'{"a":' * 40 + b"1" + b"}" * 40, b'{"model": "\\ud800"}', b'{"min": 1e999}',
    b"{}{}", b"{} x", b"'a'", b"\x00", b"--\r\n", b"--x\r\n\r\n--x--\r\n", b"\x89PNG\r\n\x1a\n", b"GIF89a",
    b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBP", b"BM", b"A" * 100_000,
)  # fmt: skip
MEDIA_TYPES = (
    "application/json", "application/json; charset=utf-16", "application/problem+json", "text/plain", "text/json",
    "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=", "image/png",
    "multipart/form-data; boundary=x", "multipart/mixed; boundary=x", "application/octet-stream", "*/*", "x", "",
    "application/json; charset=latin-1", "application/json;;", "multipart/form-data; boundary=" + "x" * 200,
)  # fmt: skip
HEADERS = (
    ("Accept", "application/xml"), ("Accept", "text/event-stream"), ("Accept", "*/*;q=0"), ("Accept", ";;,"),
    ("Accept-Encoding", "br"), ("Content-Encoding", "gzip"), ("Range", "bytes=0-1"), ("Expect", "200-ok"),
    ("If-None-Match", '"1"'), ("If-None-Match", "*"), ("If-Modified-Since", "x"), ("If-Match", "1"),
    ("If-Match", ""), ("Origin", "http://evil.example"), ("X-Request-Id", "a b"), ("Connection", "close"),
    ("X-Forwarded-Host", "evil.example"), ("X-HTTP-Method-Override", "DELETE"), ("Traceparent", "00-zz"),
    ("Prefer", "wait=-1"), ("Prefer", "wait=1, wait=2"), ("Last-Event-ID", "x"), ("Cookie", "session=\x7f"),
    ("Authorization", "Basic eA=="), ("Idempotency-Key", "é"), ("Idempotency-Key", "k" * 256),
    ("X-Long", "x" * 9000), ("X-Longer", "x" * 33_000),
)  # fmt: skip


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def text(random: Random) -> str:
    if random.random() < 0.3:
        return "".join(random.choices(string.printable + "éß漢🙂", k=random.randint(1, 40)))
    return random.choice(TEXTS)


def segment(random: Random) -> str:
    """What can stand between two slashes of a path, and is not taken for anything else on the way."""
    found = "".join(c for c in text(random) if c not in "/?#%\\" and c.isprintable())
    return found if found.strip(". ") else "x"


def plain_text(random: Random) -> str:
    """What can stand in a header."""
    return text(random).encode("ascii", "ignore").decode().translate(dict.fromkeys(range(32), "")).strip()


def damaged(data: bytes, random: Random) -> bytes:
    """Bytes cut off, flipped, doubled or swapped for something else."""
    match random.randrange(4):
        case 0:
            return data[: random.randint(0, len(data))]
        case 1 if data:
            found = bytearray(data)
            for _ in range(random.randint(1, 8)):
                found[random.randrange(len(found))] ^= 1 << random.randrange(8)
            return bytes(found)
        case 2:
            return data + data[: random.randint(0, 64)]
        case _:
            return random.choice(BODIES)


def changed(value: Any, random: Random) -> Any:
    """A JSON value with one thing in it replaced, added or left out."""
    here: list[Callable[[], Any]] = [lambda: _leaf(value, random)]
    if isinstance(value, dict) and value:
        name = random.choice(sorted(value, key=str))
        inside = {k: changed(v, random) if k == name else v for k, v in value.items()}
        here += [lambda: inside] * 6
        here += [lambda: {k: v for k, v in value.items() if k != name}, lambda: {**value, random.choice(TEXTS): 1}]
    if isinstance(value, list) and value:
        place = random.randrange(len(value))
        here += [lambda: [changed(v, random) if n == place else v for n, v in enumerate(value)]] * 4
        here += [lambda: value * 2, lambda: value[1:]]
    return random.choice(here)()


def _leaf(value: Any, random: Random) -> Any:
    if isinstance(value, bytes):
        return damaged(value, random)
    return text(random) if random.random() < 0.5 else random.choice(JSON_VALUES)
