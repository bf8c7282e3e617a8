"""Fresh ids, derived ids, and position tokens."""

import base64
import binascii
import re
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

import uuid_utils

_TOKEN = re.compile(r"1\.([0-9]{1,6})\.([0-9]{1,18})\.([\x21-\x7e]{1,100})")  # numbers that any database holds
_NAMESPACE = uuid5(NAMESPACE_URL, "urn:darkroom:id")


def new_id() -> str:
    """A UUIDv7: unique, and sorted roughly by time."""
    return str(uuid_utils.uuid7())


def derived_id(*parts: str) -> str:
    """The same UUIDv5 for the same parts, on every instance."""
    return str(uuid5(_NAMESPACE, "\x1f".join(parts)))


def job_id_of(tenant: str, idempotency_key: str) -> str:
    """The id of the job that is created under a key."""
    return derived_id("job", tenant, idempotency_key)


def command_id_of(tenant: str, resource: str, idempotency_key: str) -> str:
    """The id of a command under a key; a key belongs to one resource of one tenant."""
    return derived_id("command", tenant, resource, idempotency_key)


def parse_uuid(text: str) -> str | None:
    """The canonical form of a UUID, or None if `text` is not one in that form (of either case)."""
    try:
        canonical = str(UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a topic: the offset of one event in one partition. Its token is opaque to clients."""

    topic_id: str
    partition: int
    offset: int

    def token(self) -> str:
        return (
            base64.urlsafe_b64encode(f"1.{self.partition}.{self.offset}.{self.topic_id}".encode())
            .decode()
            .rstrip("=")
        )

    @classmethod
    def parse(cls, token: str) -> "Position":
        """Raises ValueError for what is no token of ours."""
        try:
            text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise ValueError("not a position token") from None
        found = _TOKEN.fullmatch(text)
        if found is None:
            raise ValueError("not a position token")
        return cls(found[3], int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Vector:
    """A place in a whole topic: the offset of the next event of each partition. Its token is opaque to clients."""

    topic_id: str
    next: tuple[int, ...]

    def token(self) -> str:
        text = f"v1.{'.'.join(str(n) for n in self.next)}~{self.topic_id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, token: str) -> "Vector":
        """Raises ValueError for what is no token of ours."""
        try:
            text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise ValueError("not a token of a stream over all jobs") from None
        numbers, _, topic_id = text.partition("~")
        version, *offsets = numbers.split(".")
        if version != "v1" or not topic_id or not all(n.isascii() and n.isdigit() for n in offsets):
            raise ValueError("not a token of a stream over all jobs")
        if not offsets or any(len(n) > 18 for n in offsets):
            raise ValueError("not a token of a stream over all jobs")
        return cls(topic_id, tuple(int(n) for n in offsets))
