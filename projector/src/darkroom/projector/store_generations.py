"""Generations of a family's read models: made, handed over to the live loop, held, switched to, dropped."""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure

from darkroom.projector.projections.families import Family
from darkroom.projector.store import PROJECTORS, Fenced, Store, folds_of, transaction, unavailable
from darkroom.runtime import failpoints
from darkroom.schemas.views import FOLD_VERSIONS, GENERATIONS, INDEXES, checkpoint_id, collection

_log = logging.getLogger("darkroom.projector")
Document = dict[str, Any]
FIRST = 1
"""The generation that a database begins with."""
_NAMESPACE_EXISTS = 48
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEXT_ERA: list[Document] = [{"$set": {"era": {"$add": ["$era", 1]}}}]


def ensure(store: Store, family: Family, topic: str, topic_id: str, partitions: int) -> None:
    """Makes what a first start needs: the alias document (generation 1), collections, indexes, checkpoints at 0.

    Raises ValueError, with a sentence that says what to do, if documents stand there without a checkpoint.
    """
    with unavailable():
        _insert_if_missing(store, GENERATIONS, first_alias(family))
        _make_collection(store, PROJECTORS)
        store.checkpoints.create_index([("family", 1), ("topic", 1), ("partition", 1)])
        live = live_generation(store, family)
        if _has_checkpoints(store, family, live):
            return
        make_collections(store, family, live)
        make_indexes(store, family, live)
        for read_model in family.read_models:
            name = collection(read_model, live)
            if store.database[name].find_one({}, {"_id": 1}) and not _has_checkpoints(store, family, live):
                raise ValueError(
                    f"collection {name} holds documents, but there is no checkpoint that says how far they go: "
                    f"drop the database {store.database.name} (all of it is made again from the log)"
                )
    with store.session() as session, transaction(session):
        if store.checkpoints.find_one({"family": family.name}, session=session) is None:  # nobody was quicker
            found = checkpoints_at(family, live, topic, topic_id, dict.fromkeys(range(partitions), 0))
            store.checkpoints.insert_many(found, session=session)


def check(
    store: Store, family: Family, topic: str, topic_id: str, ask_ends: Callable[[], Mapping[int, int]]
) -> None:
    """Refuses (ValueError, with a sentence that says what to do) a log that is not the one these read models were
    folded from: another topic id, other partitions, or an end before a checkpoint. Touches nothing. `ask_ends`
    gives the end offset of each partition; what it raises passes through."""
    with unavailable():
        found = list(store.checkpoints.find({"family": family.name}))
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
    """The generation that readers read. Raises Fenced if there is none."""
    return int(alias_of(store, family)["live"])


def alias_of(store: Store, family: Family) -> Document:
    """The family's alias document (views.Generation). Raises Fenced if there is none."""
    with unavailable():
        alias = store.generations.find_one({"_id": family.name})
    if alias is None:
        raise Fenced(f"the read models of {family.name} have no live generation")
    return alias


def versions_of(family: Family) -> dict[str, int]:
    """The versions of this code's folds, by read model."""
    return {read_model: FOLD_VERSIONS[read_model] for read_model in family.read_models}


def first_alias(family: Family) -> Document:
    """The alias document (views.Generation) of a family whose only generation is FIRST, made by this code."""
    return {
        "_id": family.name,
        "live": FIRST,
        "kept": [],
        "building": None,
        "fold_versions": {str(FIRST): versions_of(family)},
    }


def outdated(store: Store, family: Family) -> list[str]:
    """The read models whose live generation was folded by another version of the fold than this code's."""
    alias = alias_of(store, family)
    made_by = alias["fold_versions"].get(str(alias["live"]), {})
    return [name for name, version in versions_of(family).items() if made_by.get(name) != version]


def begin(store: Store, family: Family) -> int:
    """A new generation, empty, noted as being built; what an earlier replay left half-built is dropped. The caller
    holds the replay's lease."""
    alias = alias_of(store, family)
    if alias["building"] is not None:
        _log.info("dropping generation %d of %s, which was half built", alias["building"], family.name)
        drop(store, family, [alias["building"]])
    generation: int = max(g for g in (alias["live"], *alias["kept"], alias["building"]) if g is not None) + 1
    drop(store, family, [generation])  # collections may be left over from a replay that was killed while dropping
    make_collections(store, family, generation)
    with unavailable():
        store.generations.update_one(
            {"_id": family.name},
            {"$set": {"building": generation, f"fold_versions.{generation}": versions_of(family)}},
        )
    return generation


def hand_over(
    store: Store, family: Family, generation: int, topic: str, topic_id: str, vector: Mapping[int, int]
) -> None:
    """Gives a finished generation its checkpoints: from now on the live loop of its folds carries it. The era
    changes for all, so that this loop hears of it."""
    with store.session() as session, transaction(session):
        store.checkpoints.insert_many(checkpoints_at(family, generation, topic, topic_id, vector), session=session)
    with unavailable():  # not in the transaction, which would fail wherever a projection is under way
        store.checkpoints.update_many({"family": family.name}, _NEXT_ERA)


def hold(store: Store, family: Family, held_s: float) -> None:
    """From the return on, no projector moves a checkpoint of the family for at most `held_s` seconds; a transaction
    that was under way has ended. Raises StoreUnavailable."""
    with unavailable():  # not in a transaction: such an update waits for those under way instead of failing
        store.checkpoints.update_many({"family": family.name}, _held_for(held_s) + _NEXT_ERA)


def release(store: Store, family: Family, others: bool = False) -> None:
    """Ends what `hold` began; `others`: only for the generations that other folds than this code's made."""
    of: Document = {"family": family.name} | ({"folds": {"$ne": folds_of(family)}} if others else {})
    with unavailable():
        store.checkpoints.update_many(of, [{"$unset": "held_until"}, *_NEXT_ERA])


def make_live(
    store: Store,
    session: ClientSession,
    family: Family,
    generation: int,
    linger_s: float,
    ahead: bool = False,
) -> bool:
    """Makes `generation` the live one if all its partitions stand where those of the live one stand (or `ahead` of
    them, where that is allowed); False if not yet. The former live generation is kept; others are no longer
    carried.

    One transaction: it compares all checkpoints, begins a new era (so that a projection under way, which may not
    know of the new generation, conflicts with it and is decided again), and compares-and-sets the alias. Two of the
    same folds go on together, and are released; of different ones, each would go at its own pace, so both stay
    where they are for `linger_s`, until no reader reads the former one any more (see views.ALIAS_AGE_S_MAX).
    Raises Fenced, StoreUnavailable.
    """
    with transaction(session):
        alias = store.generations.find_one({"_id": family.name}, session=session)
        assert alias is not None
        live = alias["live"]
        found = list(store.checkpoints.find({"family": family.name}, session=session))
        standing = {(c["partition"], c["generation"]): c["next"] for c in found}
        for partition in {c["partition"] for c in found}:
            new, old = standing.get((partition, generation), -1), standing[partition, live]
            if new < old or (new > old and not ahead):
                session.abort_transaction()
                return False
        others: Document = {"family": family.name, "generation": {"$nin": [generation, live]}}
        store.checkpoints.delete_many(others, session=session)
        together = len({c["folds"] for c in found if c["generation"] in (generation, live)}) == 1
        held: list[Document] = [{"$unset": "held_until"}] if together else _held_for(linger_s)
        store.checkpoints.update_many({"family": family.name}, held + _NEXT_ERA, session=session)
        building = None if alias["building"] == generation else alias["building"]
        failpoints.reach("switch-before-alias")
        changed = store.generations.update_one(
            {"_id": family.name, "live": live},
            {"$set": {"live": generation, "kept": [live], "building": building}},
            session=session,
        )
        if changed.matched_count != 1:
            raise Fenced(f"the live generation of {family.name} was changed by somebody else")
    return True


def count(store: Store, family: Family, generation: int) -> dict[str, int]:
    """How many documents each read model of a generation holds."""
    with unavailable():
        return {
            read_model: store.database[collection(read_model, generation)].count_documents({}, hint="_id_")
            for read_model in family.read_models
        }


def abandon(store: Store, family: Family, generation: int) -> None:
    """Drops a generation that is being built, and forgets it."""
    drop(store, family, [generation])
    with unavailable():
        store.generations.update_one({"_id": family.name, "building": generation}, {"$set": {"building": None}})


def prune(store: Store, family: Family) -> list[int]:
    """Drops the generations that are kept for a rollback; returns which."""
    kept = list(alias_of(store, family)["kept"])
    drop(store, family, kept)
    with unavailable():
        store.generations.update_one({"_id": family.name}, {"$pull": {"kept": {"$in": kept}}})
    return kept


def drop(store: Store, family: Family, generations: Collection[int]) -> None:
    """Removes the checkpoints (so that nobody carries them), then the collections. Never the live generation."""
    live = live_generation(store, family)
    doomed = [g for g in generations if g != live]
    with unavailable():
        store.checkpoints.delete_many({"family": family.name, "generation": {"$in": doomed}})
        for generation in doomed:
            for read_model in family.read_models:
                store.database[collection(read_model, generation)].drop()
            store.generations.update_one({"_id": family.name}, {"$unset": {f"fold_versions.{generation}": ""}})


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
    """Checkpoint documents (views.Checkpoint) of this code's folds, at the given offsets by partition."""
    return [
        {
            "_id": checkpoint_id(family.name, generation, partition),
            "family": family.name,
            "generation": generation,
            "partition": partition,
            "topic": topic,
            "topic_id": topic_id,
            "folds": folds_of(family),
            "next": offset,
            "era": 0,
            "end_seen": offset,
            "end_seen_at": _EPOCH,
        }
        for partition, offset in sorted(vector.items())
    ]


def _held_for(seconds: float) -> list[Document]:
    until = {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": int(seconds * 1000)}}
    return [{"$set": {"held_until": until}}]


def _has_checkpoints(store: Store, family: Family, generation: int) -> bool:
    return store.checkpoints.find_one({"family": family.name, "generation": generation}) is not None


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
