"""How the other commands find the stack: by a ready file, the settings, or the user's own last `darkroom up`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom.cli.errors import UserError
from darkroom.cli.stack.places import last_ready_file
from darkroom.cli.stack.process import runs
from darkroom.cli.stack.readyfile import read_ready_file
from darkroom.runtime.settings import Settings, SettingsError, read_settings

READY_FILE = "DARKROOM_READY_FILE"
_TELLING = ("DARKROOM_COMMAND_URL", "DARKROOM_QUERY_URL", "DARKROOM_KAFKA", "DARKROOM_MONGODB")
"""A user who sets one of these means a stack of his own."""


_TOPICS = {
    "jobs": "DARKROOM_TOPIC_JOBS",
    "models": "DARKROOM_TOPIC_MODELS",
    "heartbeats": "DARKROOM_TOPIC_HEARTBEATS",
}
"""Set by hand, these and DARKROOM_MONGODB_DATABASE mean other topics or another database on the stack that was
found: a restore goes into new ones."""


class NoStack(UserError):
    """No running stack was found."""


@dataclass(frozen=True)
class Stack:
    """Where a stack's parts are. An address is "" where the stack runs without that part (`up --only …`).

    `topics`: by "jobs", "models", "heartbeats". `pids`: by kind of part, empty if the settings named the stack.
    `data`: the folder of `darkroom up`, None likewise; `up_pid`: its process. `found_by`: for messages.
    """

    command_url: str
    query_url: str
    kafka: str
    mongodb: str
    mongodb_database: str
    blobs: str
    topics: Mapping[str, str]
    data: Path | None
    found_by: str
    command_urls: Sequence[str] = ()
    pids: Mapping[str, Sequence[int]] = field(default_factory=dict)
    up_pid: int | None = None


def find_stack(ready_file: Path | None = None, needs: Sequence[str] = ()) -> Stack:
    """The stack that is meant, looked for in this order: `ready_file`, DARKROOM_READY_FILE, the settings in the
    environment, the last `darkroom up`. DARKROOM_TOPIC_* and DARKROOM_MONGODB_DATABASE, where they are set, win
    over what a ready file names.

    `needs` names fields of Stack without which the caller can do nothing. Raises NoStack.
    """
    stack = _find(ready_file)
    for need in needs:
        if not getattr(stack, need):
            raise NoStack(f"the stack found by {stack.found_by} has no {need} (was it started with --only?)")
    return stack


def _find(ready_file: Path | None) -> Stack:
    named = ready_file or (Path(os.environ[READY_FILE]) if os.environ.get(READY_FILE) else None)
    if named is not None:
        how = f"--ready-file {named}" if ready_file else f"{READY_FILE}={named}"
        content = _read(named)
        if not content:
            raise NoStack(f"{how}: there is no such file; a stack writes it when all its parts are ready")
        if not _alive(content):
            raise NoStack(f"{how}: its stack (pid {content.get('up_pid')}) is gone; start it with `darkroom up`")
        return _of_ready_file(content, how)
    telling = [name for name in _TELLING if os.environ.get(name)]
    if telling:
        return _of_settings(", ".join(telling))
    content = _read(last_ready_file())
    if content and _alive(content):
        return _of_ready_file(content, "the last `darkroom up`")
    raise NoStack(
        "no running stack was found. Either start one with `darkroom up`, or name the ready file of one "
        f"(--ready-file FILE or {READY_FILE}), or name its addresses (DARKROOM_COMMAND_URL, DARKROOM_QUERY_URL, "
        "DARKROOM_KAFKA, …)"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_ready_file(path)
    except ValueError as error:
        raise NoStack(f"{path} is not a ready file: {error}") from None


def _alive(content: Mapping[str, Any]) -> bool:
    """Does the `darkroom up` that wrote it still run? (One that was killed could not remove its file.)"""
    pid = content.get("up_pid")
    # Without one it was written by something else than `darkroom up`, and is believed.
    return runs(pid) if isinstance(pid, int) else True


def _of_ready_file(content: Mapping[str, Any], how: str) -> Stack:
    settings = _settings()
    try:
        topics = {"heartbeats": settings.topic_heartbeats, **content["topics"]}
        return Stack(
            command_url=content["command_url"] or "",
            query_url=content["query_url"] or "",
            kafka=content["kafka"] or "",
            mongodb=content["mongodb"] or "",
            mongodb_database=_set("DARKROOM_MONGODB_DATABASE")
            or content.get("mongodb_database", settings.mongodb_database),
            blobs=content.get("blobs", settings.blobs),
            topics={name: _set(_TOPICS.get(name, "")) or topic for name, topic in topics.items()},
            data=Path(content["data"]),
            found_by=how,
            command_urls=content.get("command_urls") or [content["command_url"]],
            up_pid=content.get("up_pid"),
            pids={k: pids if isinstance(pids, list) else [pids] for k, pids in content["pids"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise NoStack(f"{how}: not a ready file ({error!r})") from None


def _of_settings(how: str) -> Stack:
    settings = _settings()
    return Stack(
        command_url=settings.command_url,
        query_url=settings.query_url,
        kafka=settings.kafka,
        mongodb=settings.mongodb,
        mongodb_database=settings.mongodb_database,
        blobs=settings.blobs,
        topics={
            "jobs": settings.topic_jobs,
            "models": settings.topic_models,
            "heartbeats": settings.topic_heartbeats,
        },
        data=None,
        found_by=how,
        command_urls=[settings.command_url],
    )


def _set(name: str) -> str | None:
    return os.environ.get(name) or None


def _settings() -> Settings:
    try:
        return read_settings()
    except SettingsError as error:
        raise NoStack(f"the settings in the environment cannot be used: {error}") from None
