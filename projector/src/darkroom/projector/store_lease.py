"""At most one replay of a family at a time: a lease in MongoDB, by MongoDB's own clock."""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import uuid4

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from darkroom.projector.projections.families import Family
from darkroom.projector.store import PROJECTORS, Session, Store, unavailable
from darkroom.schemas.errors import StoreUnavailable

LEASE_S = 10
_RENEW_S = 2.0
_COLLECTION = "replays"


def end_dead_replay(store: Store, family: Family) -> None:
    """Ends what a replay has left open in MongoDB, if its lease has run out."""
    with unavailable():
        alive = {"_id": family.name, "$expr": {"$gt": ["$until", "$$NOW"]}}
        if store.database[_COLLECTION].find_one(alive) is None:
            _end_noted(store, store.database[PROJECTORS].find_one_and_delete({"_id": _note_of(family)}))


def _note_of(family: Family) -> str:
    return f"replay:{family.name}"


def _end_noted(store: Store, note: Mapping[str, Any] | None) -> None:
    if note is not None:
        store.end_sessions([note["session"]])


class Lease:
    """Use it with `with`. Raises ValueError if another replay holds it and goes on holding it."""

    def __init__(self, store: Store, family: Family, on_wait: Callable[[str], None]) -> None:
        self._store, self._replays = store, store.database[_COLLECTION]
        self._projectors = store.database[PROJECTORS]
        self._family = family
        self._on_wait = on_wait
        self._owner = uuid4().hex
        self._stopping = threading.Event()
        self._renewed = monotonic()
        self._others_until: datetime | None = None
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> "Lease":
        until, first, waited = monotonic() + LEASE_S + 1, None, False
        while not self._take():
            first = first or self._others_until
            if not waited:
                waited = True
                self._on_wait(f"waiting up to {LEASE_S} s for the lease of an earlier replay")
            # A lease that is renewed meanwhile is not a dead one's.
            if self._others_until != first or monotonic() > until:
                raise ValueError(
                    f"another replay of {self._family.name} is under way: wait for it to end, or stop it"
                )
            self._stopping.wait(0.2)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        with unavailable():
            self._projectors.delete_one({"_id": _note_of(self._family)})
            self._replays.delete_one({"_id": self._family.name, "owner": self._owner})

    def note(self, session: Session) -> None:
        """Says which session this replay writes with, so that others can end it if the replay dies. Its open
        transaction would hold the checkpoints, and with them the live projection, for a minute."""
        with unavailable():
            end = self._projectors.find_one_and_replace(
                {"_id": _note_of(self._family)}, {"session": session.session_id["id"]}, upsert=True
            )
            _end_noted(self._store, end)

    def check(self) -> None:
        """Raises StoreUnavailable if the lease may be somebody else's by now."""
        if monotonic() - self._renewed > LEASE_S:
            raise StoreUnavailable("MongoDB was away for too long: start the replay again")

    def _take(self) -> bool:
        before = monotonic()
        free: dict[str, Any] = {
            "$or": [{"$eq": ["$owner", self._owner]}, {"$lt": ["$until", "$$NOW"]}]
        }  # so is a missing one
        until = {"$dateAdd": {"startDate": "$$NOW", "unit": "second", "amount": LEASE_S}}
        steps: list[dict[str, Any]] = [
            {"$set": {"owner": {"$cond": [free, self._owner, "$owner"]}}},
            {"$set": {"until": {"$cond": [{"$eq": ["$owner", self._owner]}, until, "$until"]}}},
        ]
        with unavailable():
            try:
                held = self._replays.find_one_and_update(
                    {"_id": self._family.name}, steps, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                return False  # another one has just made it
        if held is None or held["owner"] != self._owner:
            self._others_until = held["until"] if held else None
            return False
        self._renewed = before
        return True

    def _renew(self) -> None:
        while not self._stopping.wait(_RENEW_S):
            try:
                self._take()
            except StoreUnavailable:
                continue  # `check` tells when it has been too long
