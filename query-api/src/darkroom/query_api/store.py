"""MongoDB as the query API reads it: the connection, which generation is live, and how far it has come. This module
and `store_errors` are the only ones here that import pymongo.

Every read is of one generation of one family of read models, at majority read concern, from the primary, and in
this order: alias, checkpoint, document. A projector changes documents and checkpoint in one transaction, so a
document read after its checkpoint is at least as new, and a position taken from the checkpoint is never newer than
what is shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any

from pymongo import MongoClient
from pymongo.read_concern import ReadConcern

from darkroom.query_api.store_documents import Document, Documents
from darkroom.query_api.store_errors import GenerationGone, guarded, translated
from darkroom.schemas import views
from darkroom.schemas.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one generation of a family has folded one partition; `next` is the first offset not folded."""

    partition: int
    topic: str
    topic_id: str
    next: int
    end_seen: int
    end_seen_at: datetime


class Store(Documents):
    """Connects lazily, and only after a fork (pymongo clients are not fork-safe). Every call ends within
    `deadline_s`."""

    def __init__(self, uri: str, database: str, deadline_s: float) -> None:
        self._client: MongoClient[Document] = MongoClient(
            uri,
            connect=False,
            tz_aware=True,
            appname="darkroom-query-api",
            readConcernLevel="majority",
            timeoutMS=int(deadline_s * 1000),
            serverSelectionTimeoutMS=int(deadline_s * 1000),
        )
        # A change stream outlives any one deadline, so it has a client of its own, with socket time-outs.
        self._watching: MongoClient[Document] = MongoClient(
            uri,
            connect=False,
            appname="darkroom-query-api-watch",
            readConcernLevel="majority",
            serverSelectionTimeoutMS=int(deadline_s * 1000),
            connectTimeoutMS=int(deadline_s * 1000),
            socketTimeoutMS=10_000,
        )
        of_one_moment = self._client.get_database(database, read_concern=ReadConcern("snapshot"))
        super().__init__(self._client[database], of_one_moment)
        self._watched = self._watching[database]
        self._aliases: dict[str, tuple[int, float]] = {}
        self._topics: dict[tuple[str, int], dict[int, str]] = {}
        self._lock = Lock()

    def close(self) -> None:
        self._client.close()
        self._watching.close()

    @guarded
    def generation(self, family: str, fresh: bool = False) -> int:
        """The generation that readers read, remembered for `views.ALIAS_AGE_S_MAX`. Raises StoreUnavailable where
        no projector has ever run."""
        with self._lock:
            known = self._aliases.get(family)
        # The age counts from before the question: a switch made while it is answered is older than it.
        asked = monotonic()
        if known is not None and not fresh and asked - known[1] < views.ALIAS_AGE_S_MAX:
            return known[0]
        alias = self._database[views.GENERATIONS].find_one({"_id": family}, {"live": 1})
        if alias is None:
            raise StoreUnavailable(f"The read models of {family} are not there yet: has a projector run?")
        live = int(alias["live"])
        with self._lock:
            known = self._aliases.get(family)
            if known is None or known[1] < asked:
                self._aliases[family] = (live, asked)
            if fresh or known is None or known[0] != live:
                self._topics.pop((family, live), None)
        return live

    @guarded
    def marks(self, family: str, generation: int) -> dict[int, Mark]:
        """The checkpoints of one generation, by partition, as they are now."""
        first = views.checkpoint_id(family, generation, 0).removesuffix("0")  # ":" follows every digit
        found = self._database[views.CHECKPOINTS].find({"_id": {"$gte": first, "$lt": first + ":"}})
        return {c["partition"]: _mark(c) for c in found}

    def topic_id(self, family: str, generation: int, partition: int) -> str:
        """The id of the topic that a document of this partition was folded from. It never changes within a
        generation, and is remembered. Raises GenerationGone when there is no such checkpoint."""
        topics = self._topics.get((family, generation), {})
        if partition not in topics:
            topics = {p: mark.topic_id for p, mark in self.marks(family, generation).items()}
            with self._lock:
                self._topics[(family, generation)] = topics
                while len(self._topics) > 4 * len(views.FAMILIES):
                    self._topics.pop(next(iter(self._topics)))
        if partition not in topics:
            raise GenerationGone
        return topics[partition]

    @guarded
    def projections(self) -> tuple[list[Document], list[tuple[str, int, Mark]], dict[str, int]]:
        """Every alias, every checkpoint (family, generation, mark), and how many records stand in quarantine in the
        live generation of each family."""
        families = list(views.FAMILIES)
        aliases = list(self._database[views.GENERATIONS].find({"_id": {"$in": families}}))
        checkpoints = self._database[views.CHECKPOINTS].find({"family": {"$in": families}}, hint="_id_")
        marks = [(c["family"], c["generation"], _mark(c)) for c in checkpoints]
        quarantined = {
            # Counted by its keys: the count without a hint is an estimate after a crash of MongoDB.
            a["_id"]: self._of(views.QUARANTINES[a["_id"]], a["live"]).count_documents({}, hint="_id_")
            for a in aliases
        }
        return aliases, marks, quarantined

    @guarded
    def ping(self) -> None:
        """Raises StoreUnavailable if the database does not answer."""
        self._client.admin.command("ping")

    @contextmanager
    def moved_checkpoints(self, idle_s: float) -> Iterator[Iterator[tuple[str, int] | None]]:
        """A change stream of checkpoints that moved: (checkpoint id, next), or None after `idle_s` of silence.
        Raises StoreUnavailable, also for a server without change streams."""
        moved: Sequence[Mapping[str, Any]] = [
            {
                "$match": {
                    "$or": [
                        {"operationType": {"$in": ["insert", "replace"]}},
                        {"updateDescription.updatedFields.next": {"$exists": True}},
                    ]
                }
            }
        ]
        with (
            translated(),
            self._watched[views.CHECKPOINTS].watch(moved, max_await_time_ms=int(idle_s * 1000)) as stream,
        ):

            def changes() -> Iterator[tuple[str, int] | None]:
                while stream.alive:
                    change = stream.try_next()
                    if change is None:
                        yield None
                        continue
                    whole = change.get("fullDocument") or change["updateDescription"]["updatedFields"]
                    yield str(change["documentKey"]["_id"]), int(whole["next"])

            yield changes()

    @guarded
    def checkpoints_now(self) -> dict[str, int]:
        """`next` of every checkpoint, by its id."""
        found = self._database[views.CHECKPOINTS].find({}, {"next": 1}, hint="_id_")
        return {str(c["_id"]): int(c["next"]) for c in found}


def _mark(checkpoint: Mapping[str, Any]) -> Mark:
    return Mark(
        partition=checkpoint["partition"],
        topic=checkpoint["topic"],
        topic_id=checkpoint["topic_id"],
        next=checkpoint["next"],
        end_seen=checkpoint["end_seen"],
        end_seen_at=checkpoint["end_seen_at"],
    )
