"""The read models in MongoDB: the transaction of a batch, and the progress that it moves.

This module and its siblings `store_*` are the only ones that import pymongo.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import DeleteOne, MongoClient, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from darkroom.projector.projections.families import Changes, Family, Load
from darkroom.runtime import failpoints
from darkroom.schemas.errors import DarkroomError, StoreUnavailable
from darkroom.schemas.views import CHECKPOINTS, GENERATIONS, QUARANTINE, checkpoint_id, collection

Document = dict[str, Any]
Session = ClientSession
PROJECTORS = "projectors"
"""Which database session works on which partition, so that a successor can end what a dead one left open."""

_COMMIT_TIMEOUT_MS = 20_000


class Fenced(DarkroomError):
    """A checkpoint is not where this projector thought: somebody else has moved on, or a generation came or went.
    Nothing was written."""


@dataclass(frozen=True, slots=True)
class Work:
    """A batch of one partition: the records from offset `start` to before `stop`, for these generations.

    `alone`: other generations may stand at `start` too and are left there (catching up); otherwise all that stand
    there have to be moved. `end_seen`: the end of the partition as last seen.
    """

    topic: str
    partition: int
    generations: tuple[int, ...]
    start: int
    stop: int
    end_seen: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far each generation of a family has folded one partition: generation -> offset of the next record."""

    live: int
    topic_ids: frozenset[str]
    next: Mapping[int, int]

    @property
    def start(self) -> int:
        """The offset of the next record for the generation that readers read."""
        return self.next[self.live]

    @property
    def carried(self) -> tuple[int, ...]:
        """The generations that stand where the live one stands: they go on together."""
        return tuple(sorted(g for g, offset in self.next.items() if offset == self.start))


class Store:
    """One client, for one thread of work at a time (`Store.session` makes the sessions)."""

    def __init__(self, uri: str, database: str, *, timeout_s: float = 5.0) -> None:
        """Connects lazily. No operation waits longer than a few times `timeout_s`."""
        self.client: MongoClient[Document] = MongoClient(
            uri,
            connect=False,
            tz_aware=True,
            appname="darkroom-projector",
            serverSelectionTimeoutMS=int(timeout_s * 1000),
            connectTimeoutMS=int(timeout_s * 1000),
            socketTimeoutMS=int(timeout_s * 4000),
        )
        self.database = self.client.get_database(
            database, read_concern=ReadConcern("majority"), write_concern=WriteConcern("majority")
        )
        self.checkpoints: MongoCollection[Document] = self.database[CHECKPOINTS]
        self.generations: MongoCollection[Document] = self.database[GENERATIONS]

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def session(self) -> Iterator[ClientSession]:
        """A session for transactions, one at a time."""
        with unavailable(), self.client.start_session() as session:
            yield session

    def ping(self) -> None:
        """Raises StoreUnavailable if MongoDB does not answer."""
        with unavailable():
            self.client.admin.command("ping")

    def progress(
        self, family: Family, topic: str, partitions: Collection[int], session: ClientSession | None = None
    ) -> dict[int, Progress]:
        """Where each partition stands. Raises Fenced if a checkpoint of the live generation is missing,
        StoreUnavailable."""
        with unavailable():
            aliases = list(self.generations.find({"_id": {"$in": list(family.read_models)}}, session=session))
            found = list(
                self.checkpoints.find(
                    {
                        "topic": topic,
                        "partition": {"$in": sorted(partitions)},
                        "read_model": {"$in": list(family.read_models)},
                    },
                    session=session,
                )
            )
        lives = {a["live"] for a in aliases}
        if len(lives) != 1 or len(aliases) != len(family.read_models):
            raise Fenced(f"the read models of {family.name} have no live generation in common")
        return {p: _progress(family, lives.copy().pop(), p, found) for p in partitions}

    def project(
        self, session: ClientSession, family: Family, work: Work, fold: Callable[[Load], Changes]
    ) -> Changes:
        """Folds and writes a batch, and moves its checkpoints, in one transaction. `fold` is called once for each
        generation. Returns the changes of the first one. Raises Fenced, StoreUnavailable; after either, the
        checkpoints say what has become of it.

        1. compare-and-set of the checkpoints: the fence, and a lock against any other projector;
        2. per generation: load the touched documents, fold, write whole documents;
        3. commit, acknowledged by a majority.
        A crash before 3 leaves nothing; after 3 the successor starts behind this batch.
        """
        first: Changes | None = None
        with (
            unavailable(),
            session.start_transaction(
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority"),
                max_commit_time_ms=_COMMIT_TIMEOUT_MS,
            ),
        ):
            self._move(session, family, work)
            for generation in work.generations:
                changes = fold(self._loading(session, generation))
                self._write(session, generation, changes)
                first = first or changes
            failpoints.reach("before-commit")
        failpoints.reach("after-commit")
        assert first is not None
        return first

    def touch(self, family: Family, topic: str, ends: Mapping[int, tuple[int, int]]) -> None:
        """Notes the end offsets that were seen, by partition with the position at which they were: (next, end). It
        changes nothing where somebody else has moved on, and never takes back a later end."""
        now = datetime.now(UTC)
        changes: list[Any] = [
            UpdateMany(
                {
                    "topic": topic,
                    "partition": partition,
                    "read_model": {"$in": list(family.read_models)},
                    "next": next_offset,
                    "end_seen": {"$lte": end},
                },
                {"$set": {"end_seen": end, "end_seen_at": now}},
            )
            for partition, (next_offset, end) in ends.items()
        ]
        if changes:
            with unavailable():
                self.checkpoints.bulk_write(changes, ordered=False)

    def take_over(self, session: ClientSession, topic: str, partitions: Collection[int]) -> None:
        """Ends the open transactions of those who had these partitions before. MongoDB would keep one of a killed
        projector, and the locks it holds, for a minute."""
        mine = session.session_id["id"]
        projectors = self.database[PROJECTORS]
        former = set()
        with unavailable():
            for partition in partitions:
                before = projectors.find_one_and_update(
                    {"_id": f"{topic}:p{partition}"},
                    {"$set": {"session": mine, "since": datetime.now(UTC)}},
                    upsert=True,
                    return_document=ReturnDocument.BEFORE,
                )
                if before is not None and before["session"] != mine:
                    former.add(before["session"])
            if former:
                self.client.admin.command("killSessions", [{"id": id} for id in former])

    def _move(self, session: ClientSession, family: Family, work: Work) -> None:
        expected = len(family.read_models) * len(work.generations)
        standing: Document = {
            "topic": work.topic,
            "partition": work.partition,
            "read_model": {"$in": list(family.read_models)},
            "next": work.start,
        }
        if work.alone:
            standing["generation"] = {"$in": list(work.generations)}
        moved = {
            "next": work.stop,
            "end_seen": max(work.end_seen, work.stop),
            "end_seen_at": datetime.now(UTC),
        }
        result = self.checkpoints.update_many(standing, {"$set": moved}, session=session)
        if result.matched_count != expected:
            raise Fenced(
                f"{result.matched_count} of {expected} checkpoints of {work.topic} stand at {work.start} in "
                f"partition {work.partition}"
            )

    def _loading(self, session: ClientSession, generation: int) -> Load:
        def load(read_model: str, ids: Collection[str]) -> Mapping[str, Document]:
            if not ids:
                return {}
            found = self.database[collection(read_model, generation)].find(
                {"_id": {"$in": list(ids)}}, session=session, batch_size=len(ids) + 1
            )
            return {document["_id"]: document for document in found}

        return load

    def _write(self, session: ClientSession, generation: int, changes: Changes) -> None:
        for read_model in changes.put.keys() | changes.removed.keys() | _appending(changes):
            operations: list[Any] = [
                ReplaceOne({"_id": id}, document, upsert=True)
                for id, document in changes.put.get(read_model, {}).items()
            ]
            operations += [DeleteOne({"_id": id}) for id in changes.removed.get(read_model, {})]
            if read_model == "history":
                operations += [_append(id, entries) for id, entries in changes.appended.items()]
            if operations:
                target = self.database[collection(read_model, generation)]
                target.bulk_write(operations, ordered=False, session=session)
        if changes.quarantined:
            self.database[QUARANTINE].bulk_write(
                [ReplaceOne({"_id": d["_id"]}, d, upsert=True) for d in changes.quarantined],
                ordered=False,
                session=session,
            )


@contextmanager
def unavailable() -> Iterator[None]:
    """MongoDB's errors as StoreUnavailable, and as Fenced where another transaction was in the way."""
    try:
        yield
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and error.has_error_label("TransientTransactionError"):
            raise Fenced(f"another transaction was in the way (code {error.code})") from error
        raise StoreUnavailable(f"MongoDB: {type(error).__name__}: {str(error)[:300]}") from error


def _append(id: str, entries: list[Document]) -> UpdateOne:
    return UpdateOne(
        {"_id": id}, {"$push": {"entries": {"$each": entries}}, "$set": {"last": entries[-1]["offset"]}}
    )


def _appending(changes: Changes) -> set[str]:
    return {"history"} if changes.appended else set()


def _progress(family: Family, live: int, partition: int, checkpoints: list[Document]) -> Progress:
    here = [c for c in checkpoints if c["partition"] == partition]
    by_id = {c["_id"]: c["next"] for c in here}
    following: dict[int, int] = {}
    for generation in {c["generation"] for c in here}:
        offsets = {by_id.get(checkpoint_id(m, generation, partition)) for m in family.read_models}
        offset = offsets.pop()
        if offsets or offset is None:
            if generation == live:
                raise Fenced(f"the checkpoints of {family.name} in partition {partition} do not agree")
            continue
        following[generation] = offset
    if live not in following:
        raise Fenced(f"partition {partition} has no checkpoint for generation {live} of {family.name}")
    return Progress(live, frozenset(c["topic_id"] for c in here), following)
