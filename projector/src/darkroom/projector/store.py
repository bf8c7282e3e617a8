"""The read models in MongoDB: the transaction of a batch, and the progress that it moves.

This module and its siblings `store_*` are the only ones that import pymongo.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne, timeout
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from darkroom.projector.ends import Seen
from darkroom.projector.projections.families import Changes, Family, Load
from darkroom.projector.remembered import Remembered
from darkroom.runtime import failpoints
from darkroom.schemas.errors import DarkroomError, StoreUnavailable
from darkroom.schemas.views import CHECKPOINTS, FOLD_VERSIONS, GENERATIONS, QUARANTINES, checkpoint_id, collection

Document = dict[str, Any]
Session = ClientSession
PROJECTORS = "projectors"
"""Which database session works on which partition, so that a successor can end what a dead one left open."""

_COMMIT_TIMEOUT_MS = 20_000
_TOUCH_TIMEOUT_S = 3.0
_APPENDED = "history"


class Fenced(DarkroomError):
    """A checkpoint is not where this projector thought: somebody else has moved on, or a generation came or went.
    Nothing was written."""


@dataclass(frozen=True, slots=True)
class Work:
    """A batch of one partition: the records from offset `start` to before `stop`, for these generations, each with
    the era in which it is known (see views.Checkpoint). `seen`: the end of the partition
    as the broker last told it, None where that is not known, or older than the batch."""

    topic: str
    partition: int
    generations: Mapping[int, int]
    start: int
    stop: int
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far each generation of a family has folded one partition: generation -> offset of the next record.

    `own`: the generations that this code's folds made, and that it may carry on, with their eras. `held`: somebody
    switches generations just now, and nobody else may move them.
    """

    live: int
    next: Mapping[int, int]
    own: Mapping[int, int]
    held: bool

    @property
    def start(self) -> int:
        """The offset of the next record for the generation that readers read."""
        return self.next[self.live]

    @property
    def lead(self) -> int | None:
        """The generation that this code follows: the live one if its own folds made it, else its newest one."""
        return self.live if self.live in self.own else max(self.own, default=None)

    @property
    def carried(self) -> dict[int, int]:
        """Its own generations that stand where the leading one stands, with their eras: they go on together."""
        lead = self.lead
        return {
            g: era for g, era in sorted(self.own.items()) if lead is not None and self.next[g] == self.next[lead]
        }


def folds_of(family: Family) -> str:
    """The versions of this code's folds of a family, as a checkpoint names them."""
    return "-".join(f"{read_model}{FOLD_VERSIONS[read_model]}" for read_model in family.read_models)


class Store:
    """One client, for one thread of work at a time (`Store.session` makes the sessions)."""

    def __init__(self, uri: str, database: str, *, timeout_s: float = 5.0) -> None:
        """Connects lazily. No operation waits longer than a few times `timeout_s`. Raises ValueError, with a
        sentence without any password, for an address or a name that cannot be used."""
        try:
            self.client: MongoClient[Document] = MongoClient(
                uri,
                connect=False,
                tz_aware=True,
                appname="darkroom-projector",
                serverSelectionTimeoutMS=int(timeout_s * 1000),
                connectTimeoutMS=int(timeout_s * 1000),
                socketTimeoutMS=int(timeout_s * 4000),
            )
        except (PyMongoError, ValueError) as error:  # what it says of the address may quote the password
            raise ValueError(
                f"the address of MongoDB (DARKROOM_MONGODB) cannot be used ({type(error).__name__}): its form "
                "is mongodb://[user:password@]host:port/, with %-escapes in user and password"
            ) from None
        try:
            self.database = self.client.get_database(
                database, read_concern=ReadConcern("majority"), write_concern=WriteConcern("majority")
            )
        except PyMongoError as error:
            raise ValueError(f"DARKROOM_MONGODB_DATABASE cannot be the name of a database: {error}") from None
        self.checkpoints: MongoCollection[Document] = self.database[CHECKPOINTS]
        self.generations: MongoCollection[Document] = self.database[GENERATIONS]

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def session(self) -> Iterator[ClientSession]:
        """A session for transactions, one at a time."""
        with unavailable(), self.client.start_session() as session:
            yield session

    def progress(
        self, family: Family, topic: str, partitions: Collection[int], session: ClientSession | None = None
    ) -> dict[int, Progress]:
        """Where each partition stands. Raises Fenced if a checkpoint of the live generation is missing,
        StoreUnavailable."""
        with unavailable():
            alias = self.generations.find_one({"_id": family.name}, session=session)
            found = list(
                self.checkpoints.aggregate(
                    [
                        {
                            "$match": {
                                "family": family.name,
                                "topic": topic,
                                "partition": {"$in": sorted(partitions)},
                            }
                        },
                        {"$set": {"held": {"$gt": ["$held_until", "$$NOW"]}}},
                    ],
                    session=session,
                )
            )
        if alias is None:
            raise Fenced(f"the read models of {family.name} have no live generation")
        return {
            p: _progress(family, alias["live"], p, [c for c in found if c["partition"] == p]) for p in partitions
        }

    def project(
        self,
        session: ClientSession,
        family: Family,
        work: Work,
        fold: Callable[[Load], Changes],
        remembered: Remembered | None = None,
    ) -> Changes:
        """Folds and writes a batch, and moves its checkpoints, in one transaction. `fold` is called once for each
        generation. `remembered`: documents of this partition as the era knows them. Returns the changes of the
        first generation. Raises Fenced, StoreUnavailable; after either, the checkpoints say what has become of it,
        and what was remembered is to be forgotten.

        1. compare-and-set of the checkpoints: the fence, and a lock against any other projector;
        2. per generation: load the touched documents, fold, write whole documents;
        3. commit, acknowledged by a majority.
        A crash before 3 leaves nothing; after 3 the successor starts behind this batch.
        """
        first: Changes | None = None
        with transaction(session, _COMMIT_TIMEOUT_MS):
            self._move(session, family, work)
            for generation in work.generations:
                loading = _Loading(self, session, generation, remembered)
                changes = fold(loading.load)
                self._write(session, generation, changes, loading.absent)
                failpoints.reach("projector-after-writes")
                if remembered is not None:
                    remembered.take(generation, changes)
                first = first or changes
            failpoints.reach("projector-before-commit")
        failpoints.reach("projector-after-commit")
        assert first is not None
        return first

    def touch(self, family: Family, topic: str, ends: Mapping[int, tuple[int, Seen]]) -> None:
        """Notes the end offsets that were seen, by partition with the position at which they were. It changes
        nothing where somebody else has moved on, and never takes back a later end."""
        ours: Document = {"family": family.name, "topic": topic, "folds": folds_of(family)}
        changes: list[Any] = [
            UpdateMany(
                {**ours, "partition": partition, "next": next_offset, "end_seen": {"$lte": seen.end}},
                {"$set": {"end_seen": seen.end}, "$max": {"end_seen_at": seen.at}},
            )
            for partition, (next_offset, seen) in ends.items()
        ]
        if changes:
            # Outside a transaction MongoDB would wait for whoever holds a checkpoint, however long.
            with unavailable(), timeout(_TOUCH_TIMEOUT_S):
                self.checkpoints.bulk_write(changes, ordered=False)

    def quarantined(self, family: Family, generation: int, topic: str, partition: int) -> int:
        """How many records of a partition no fold of a generation could read."""
        target = self.database[collection(QUARANTINES[family.name], generation)]
        with unavailable():
            return target.count_documents({"_id": under(f"{topic}:p{partition}")})

    def take_over(self, session: ClientSession, family: Family, topic: str, partitions: Collection[int]) -> None:
        """Ends the open transactions of those who had these partitions before, with the same folds. MongoDB would
        keep one of a killed projector, and the locks it holds, for a minute."""
        mine = session.session_id["id"]
        projectors = self.database[PROJECTORS]
        former = set()
        with unavailable():
            for partition in partitions:
                before = projectors.find_one_and_update(
                    {"_id": f"{topic}:p{partition}:{folds_of(family)}"},
                    {"$set": {"session": mine, "since": datetime.now(UTC)}},
                    upsert=True,
                    return_document=ReturnDocument.BEFORE,
                )
                if before is not None and before["session"] != mine:
                    former.add(before["session"])
            self.end_sessions(former)

    def end_sessions(self, sessions: Collection[Any]) -> None:
        """Ends these sessions, by their ids, and the transactions that they have open."""
        if sessions:
            self.client.admin.command("killSessions", [{"id": id} for id in sessions])

    def _move(self, session: ClientSession, family: Family, work: Work) -> None:
        known = [
            {"_id": checkpoint_id(family.name, generation, work.partition), "era": era}
            for generation, era in work.generations.items()
        ]
        standing: Document = {"$or": known, "topic": work.topic, "folds": folds_of(family), "next": work.start}
        seen = {"end_seen_at": work.seen.at} if work.seen else {}
        latest = {"end_seen": work.seen.end if work.seen else work.stop, **seen}
        moved = {"$set": {"next": work.stop}, "$max": latest}
        result = self.checkpoints.update_many(standing, moved, session=session)
        if result.matched_count != len(work.generations):
            raise Fenced(
                f"{result.matched_count} of {len(work.generations)} checkpoints of {work.topic} stand at "
                f"{work.start} in partition {work.partition}, in the eras {work.generations}"
            )

    def _write(
        self, session: ClientSession, generation: int, changes: Changes, absent: Callable[[str, str], bool]
    ) -> None:
        for read_model in changes.put.keys() | changes.removed.keys() | _appending(changes):
            operations: list[Any] = [
                InsertOne(document) if absent(read_model, id) else ReplaceOne({"_id": id}, document, upsert=True)
                for id, document in changes.put.get(read_model, {}).items()
            ]
            operations += [DeleteOne({"_id": id}) for id in changes.removed.get(read_model, {})]
            if read_model == _APPENDED:
                operations += [_append(id, entries) for id, entries in changes.appended.items()]
            if operations:
                target = self.database[collection(read_model, generation)]
                target.bulk_write(operations, ordered=False, session=session)


class _Loading:
    """The documents that a fold asks for, of one generation, and which of them there were."""

    def __init__(
        self, store: Store, session: ClientSession, generation: int, remembered: Remembered | None
    ) -> None:
        self._store, self._session, self._generation, self._remembered = store, session, generation, remembered
        self._absent: dict[str, set[str]] = {}

    def load(self, read_model: str, ids: Collection[str]) -> Mapping[str, Document]:
        """See `families.Load`."""
        known: dict[str, Document] = {}
        if self._remembered is not None:
            known = self._remembered.of(self._generation, read_model, ids)
        asked = [id for id in ids if id not in known]
        if asked:
            target = self._store.database[collection(read_model, self._generation)]
            for document in target.find({"_id": {"$in": asked}}, session=self._session, batch_size=len(asked) + 1):
                known[document["_id"]] = document
        self._absent[read_model] = {id for id in asked if id not in known}
        return known

    def absent(self, read_model: str, id: str) -> bool:
        """Whether it was asked for and is not there. A chunk of history that is put whole is always new."""
        return read_model == _APPENDED or id in self._absent.get(read_model, ())


@contextmanager
def transaction(session: ClientSession, commit_timeout_ms: int | None = None) -> Iterator[None]:
    """One transaction of a snapshot, acknowledged by a majority. Raises Fenced, StoreUnavailable."""
    with (
        unavailable(),
        session.start_transaction(
            read_concern=ReadConcern("snapshot"),
            write_concern=WriteConcern("majority"),
            max_commit_time_ms=commit_timeout_ms,
        ),
    ):
        yield


def under(prefix: str) -> Document:
    """The ids "<prefix>:…", as a range."""
    return {"$gte": f"{prefix}:", "$lt": f"{prefix};"}  # ";" follows ":"


@contextmanager
def unavailable() -> Iterator[None]:
    """MongoDB's errors as StoreUnavailable, and as Fenced where another transaction was in the way."""
    try:
        yield
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and error.has_error_label("TransientTransactionError"):
            raise Fenced(f"another transaction was in the way (code {error.code})") from error
        raise StoreUnavailable(_said(error)) from error


def _said(error: PyMongoError) -> str:
    """A line for a person, without the driver's own description of the whole topology."""
    if isinstance(error, ConnectionFailure):
        return f"MongoDB does not answer ({type(error).__name__})"
    if isinstance(error, OperationFailure):
        details = error.details or {}
        first: Mapping[str, Any] = next(iter(details.get("writeErrors") or ()), details)
        return f"MongoDB: {str(first.get('errmsg') or type(error).__name__)[:300]}"
    return f"MongoDB: {type(error).__name__}: {str(error)[:300]}"


def _append(id: str, entries: list[Document]) -> UpdateOne:
    return UpdateOne(
        {"_id": id}, {"$push": {"entries": {"$each": entries}}, "$set": {"last": entries[-1]["offset"]}}
    )


def _appending(changes: Changes) -> set[str]:
    return {_APPENDED} if changes.appended else set()


def _progress(family: Family, live: int, partition: int, checkpoints: list[Document]) -> Progress:
    following = {c["generation"]: c["next"] for c in checkpoints}
    if live not in following:
        raise Fenced(f"partition {partition} has no checkpoint for generation {live} of {family.name}")
    ours = folds_of(family)
    return Progress(
        live=live,
        next=following,
        own={c["generation"]: c["era"] for c in checkpoints if c["folds"] == ours},
        held=any(c["held"] for c in checkpoints if c["folds"] == ours),
    )
