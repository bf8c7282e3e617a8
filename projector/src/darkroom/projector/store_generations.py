"""Generations of read models: made, handed over to the live loop, switched to, dropped.

A generation belongs to a whole family (its read models rest on one chain), so its alias documents change together.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from darkroom.projector.projections.families import Family
from darkroom.projector.store import PROJECTORS, Fenced, Store, unavailable
from darkroom.schemas.views import FOLD_VERSIONS, INDEXES, QUARANTINE, checkpoint_id, collection

_log = logging.getLogger("darkroom.projector")
Document = dict[str, Any]
_NAMESPACE_EXISTS = 48
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ensure(store: Store, family: Family, topic: str, topic_id: str, partitions: int) -> None:
    """Makes what a first start needs: alias documents (generation 1), collections, indexes, checkpoints at 0.

    Raises ValueError, with a sentence that says what to do, if documents stand there without a checkpoint.
    """
    with unavailable():
        for read_model in family.read_models:
            new = {"live": 1, "kept": [], "building": None, "fold_versions": {"1": FOLD_VERSIONS[read_model]}}
            _insert_if_missing(store, "generations", {"_id": read_model, **new})
        for name in (QUARANTINE, PROJECTORS):
            _make_collection(store, name)
        store.checkpoints.create_index([("topic", 1), ("partition", 1)])
        live = live_generation(store, family)
        make_collections(store, family, live)
        make_indexes(store, family, live)
        if _has_checkpoints(store, family, live):
            return
        for read_model in family.read_models:
            name = collection(read_model, live)
            if store.database[name].find_one({}, {"_id": 1}) and not _has_checkpoints(store, family, live):
                raise ValueError(
                    f"collection {name} holds documents, but there is no checkpoint that says how far they go: "
                    f"drop the database {store.database.name} (all of it is made again from the log)"
                )
        for checkpoint in checkpoints_at(family, live, topic, topic_id, dict.fromkeys(range(partitions), 0)):
            _insert_if_missing(store, "checkpoints", checkpoint)


def check(
    store: Store, family: Family, topic: str, topic_id: str, ask_ends: Callable[[], Mapping[int, int]]
) -> None:
    """Refuses (ValueError, with a sentence that says what to do) a log that is not the one these read models were
    folded from: another topic id, other partitions, or an end before a checkpoint. Touches nothing. `ask_ends`
    gives the end offset of each partition; what it raises passes through."""
    with unavailable():
        found = list(store.checkpoints.find({"read_model": {"$in": list(family.read_models)}}))
    # Only now: other projectors may be at work, and no checkpoint stands beyond an end that is asked for after it.
    ends = ask_ends()
    remedy = (
        f"point the settings to the topic they were folded from, or drop the database {store.database.name} "
        "to fold this topic from its beginning"
    )
    for c in found:
        if c["topic"] != topic or c["topic_id"] != topic_id:
            raise ValueError(
                f"the read models were folded from topic {c['topic']} with the id {c['topic_id']}, but {topic} has "
                f"the id {topic_id}: {remedy}"
            )
        if c["partition"] not in ends:
            raise ValueError(f"there is a checkpoint for partition {c['partition']}, which {topic} lacks: {remedy}")
        if c["next"] > ends[c["partition"]]:
            raise ValueError(
                f"checkpoint {c['_id']} stands at {c['next']}, but partition {c['partition']} of {topic} ends at "
                f"{ends[c['partition']]}: the log has lost events or is another one; restore it, or {remedy}"
            )
    if found and {c["partition"] for c in found} != set(ends):
        raise ValueError(f"{topic} has partitions without a checkpoint (their number has changed): {remedy}")


def live_generation(store: Store, family: Family) -> int:
    """The generation that readers read. Raises Fenced if there is none, or not one for the whole family."""
    aliases = aliases_of(store, family)
    lives = {a["live"] for a in aliases.values()}
    if len(aliases) != len(family.read_models) or len(lives) != 1:
        raise Fenced(f"the read models of {family.name} have no live generation in common")
    return int(lives.pop())


def aliases_of(store: Store, family: Family) -> dict[str, Document]:
    """The alias documents (views.Generation) by read model."""
    with unavailable():
        found = store.generations.find({"_id": {"$in": list(family.read_models)}})
        return {a["_id"]: a for a in found}


def outdated(store: Store, family: Family) -> list[str]:
    """The read models whose live generation was folded by another version of the fold than this code's."""
    return [
        name
        for name, alias in sorted(aliases_of(store, family).items())
        if alias["fold_versions"].get(str(alias["live"])) != FOLD_VERSIONS[name]
    ]


def begin(store: Store, family: Family) -> int:
    """A new generation, empty, noted as being built; what an earlier replay left half-built is dropped. The caller
    holds the replay's lease."""
    aliases = aliases_of(store, family)
    known = {g for a in aliases.values() for g in (a["live"], *a["kept"], a["building"]) if g is not None}
    for half_built in {a["building"] for a in aliases.values() if a["building"] is not None}:
        _log.info("dropping generation %d of %s, which was half built", half_built, family.name)
        drop(store, family, [half_built])
    generation: int = max(known) + 1
    drop(store, family, [generation])  # collections may be left over from a replay that was killed while dropping
    make_collections(store, family, generation)
    with unavailable():
        for read_model in family.read_models:
            store.generations.update_one(
                {"_id": read_model},
                {
                    "$set": {
                        "building": generation,
                        f"fold_versions.{generation}": FOLD_VERSIONS[read_model],
                    }
                },
            )
    return generation


def hand_over(
    store: Store, family: Family, generation: int, topic: str, topic_id: str, vector: Mapping[int, int]
) -> None:
    """Gives a finished generation its checkpoints: from now on the live loop carries it, once it stands where the
    live one stands."""
    checkpoints = checkpoints_at(family, generation, topic, topic_id, vector)
    with store.session() as session, unavailable(), session.start_transaction():
        store.checkpoints.insert_many(checkpoints, session=session)


def switch(store: Store, session: ClientSession, family: Family, generation: int, topic: str) -> bool:
    """Makes `generation` the live one if every partition of it stands where the live one stands; False if not yet.

    One transaction: it compares all checkpoints, writes to each of them (so that a projection under way, which may
    not know of the new generation, conflicts with it and is decided again), and compares-and-sets the aliases. The
    former live generation is kept; those kept before are no longer carried. Raises Fenced, StoreUnavailable.
    """
    with (
        unavailable(),
        session.start_transaction(read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")),
    ):
        aliases = list(store.generations.find({"_id": {"$in": list(family.read_models)}}, session=session))
        live, kept = aliases[0]["live"], aliases[0]["kept"]
        of_family: Document = {"topic": topic, "read_model": {"$in": list(family.read_models)}}
        found = list(store.checkpoints.find(of_family, session=session))
        standing = {(c["read_model"], c["partition"], c["generation"]): c["next"] for c in found}
        places = {(c["read_model"], c["partition"]) for c in found}
        for place in places:
            if standing.get((*place, generation)) != standing.get((*place, live)):
                session.abort_transaction()
                return False
        store.checkpoints.update_many(of_family, {"$inc": {"switches": 1}}, session=session)
        old: Document = {"generation": {"$in": [g for g in kept if g != generation]}}
        store.checkpoints.delete_many(of_family | old, session=session)
        changed = store.generations.update_many(
            {"_id": {"$in": list(family.read_models)}, "live": live, "building": generation},
            {"$set": {"live": generation, "kept": [live], "building": None}},
            session=session,
        )
        if changed.matched_count != len(family.read_models):
            raise Fenced(f"generation {generation} of {family.name} is no longer the one being built")
    drop(store, family, kept)
    return True


def abandon(store: Store, family: Family, generation: int) -> None:
    """Drops a generation that is being built, and forgets it."""
    drop(store, family, [generation])
    with unavailable():
        store.generations.update_many(
            {"_id": {"$in": list(family.read_models)}, "building": generation}, {"$set": {"building": None}}
        )


def drop(store: Store, family: Family, generations: Collection[int]) -> None:
    """Removes the checkpoints (so that nobody carries them), then the collections. Never the live generation."""
    doomed = [g for g in generations if g != live_generation(store, family)]
    with unavailable():
        store.checkpoints.delete_many(
            {"read_model": {"$in": list(family.read_models)}, "generation": {"$in": doomed}}
        )
        for generation in doomed:
            for read_model in family.read_models:
                store.database[collection(read_model, generation)].drop()
                store.generations.update_one({"_id": read_model}, {"$unset": {f"fold_versions.{generation}": ""}})


def make_collections(store: Store, family: Family, generation: int) -> None:
    for read_model in family.read_models:
        _make_collection(store, collection(read_model, generation))


def make_indexes(store: Store, family: Family, generation: int) -> None:
    """The indexes of `views.INDEXES`. Quickest after a bulk of inserts."""
    with unavailable():
        for read_model in family.read_models:
            for keys in INDEXES[read_model]:
                store.database[collection(read_model, generation)].create_index(keys)


def checkpoints_at(
    family: Family, generation: int, topic: str, topic_id: str, vector: Mapping[int, int]
) -> list[Document]:
    """Checkpoint documents (views.Checkpoint) at the given offsets by partition."""
    return [
        {
            "_id": checkpoint_id(read_model, generation, partition),
            "read_model": read_model,
            "generation": generation,
            "partition": partition,
            "topic": topic,
            "topic_id": topic_id,
            "next": offset,
            "end_seen": offset,
            "end_seen_at": _EPOCH,
        }
        for partition, offset in sorted(vector.items())
        for read_model in family.read_models
    ]


def _has_checkpoints(store: Store, family: Family, generation: int) -> bool:
    ours = {"read_model": {"$in": list(family.read_models)}, "generation": generation}
    return store.checkpoints.find_one(ours) is not None


def _make_collection(store: Store, name: str) -> None:
    with unavailable():
        try:
            if name not in store.database.list_collection_names(filter={"name": name}):
                store.database.create_collection(name)
        except CollectionInvalid:
            return  # another projector was quicker
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:  # as above
                raise


def _insert_if_missing(store: Store, name: str, document: Document) -> None:
    others = {k: v for k, v in document.items() if k != "_id"}
    try:
        store.database[name].update_one({"_id": document["_id"]}, {"$setOnInsert": others}, upsert=True)
    except DuplicateKeyError:
        return  # another projector was quicker
