"""The live projector's transactions without the product's layers: consume, the same fold, the same reads and
writes, checkpoint compare-and-set, commit; with pymongo directly, in a loop in each thread, on its own partitions.

    DARKROOM_…=… python -m read_side.plain READ_MODELS THREADS PARTITION=STOP …

There is no group, no era, no second generation, no memory of documents, no metrics, and no answer to any error.
"""

import gc
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Message
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from darkroom.projector.batches import EVENTS_MAX
from darkroom.projector.projections.families import Family
from darkroom.projector.store import Store
from darkroom.projector.store_generations import ensure
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.settings import Settings, read_settings
from read_side.consuming import messages
from read_side.families import family
from read_side.figures import Watch

Document = dict[str, Any]
_GATHER_S = 0.05


def project(
    session: ClientSession, family: Family, database: str, topic: str, partitions: int, records: Sequence[Record]
) -> None:
    """One batch of one partition, in one transaction."""
    target = session.client[database]
    missing: dict[str, set[str]] = {}

    def load(read_model: str, ids: Collection[str]) -> Mapping[str, Document]:
        found = target[f"{read_model}_g1"].find({"_id": {"$in": list(ids)}}, session=session, batch_size=10_000)
        known = {document["_id"]: document for document in found}
        missing[read_model] = set(ids) - known.keys()
        return known

    with session.start_transaction(
        read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority"), max_commit_time_ms=20_000
    ):
        partition = records[0].partition
        moved = target.checkpoints.update_one(
            {"_id": f"jobs:g1:p{partition}", "next": records[0].offset},
            {"$set": {"next": records[-1].offset + 1}},
            session=session,
        )
        assert moved.matched_count == 1
        changes = family.fold(topic, partitions, records, load)
        operations: dict[str, list[Any]] = {}
        for read_model, documents in changes.put.items():
            # Chunks of history that are put whole are new.
            new = documents.keys() if read_model == "history" else missing.get(read_model, set())
            operations[read_model] = [
                InsertOne(d) if id in new else ReplaceOne({"_id": id}, d, upsert=True)
                for id, d in documents.items()
            ]
        for read_model, ids in changes.removed.items():
            operations.setdefault(read_model, []).extend(DeleteOne({"_id": id}) for id in ids)
        for id, entries in changes.appended.items():
            more = {"$push": {"entries": {"$each": entries}}, "$set": {"last": entries[-1]["offset"]}}
            operations.setdefault("history", []).append(UpdateOne({"_id": id}, more))
        for read_model, its_own in operations.items():
            if its_own:
                target[f"{read_model}_g1"].bulk_write(its_own, ordered=False, session=session)


def work_off(settings: Settings, family: Family, partitions: int, stops: Mapping[int, int]) -> int:
    """All batches of some partitions. Returns the number of events."""
    events = 0
    topic, database = settings.topic_jobs, settings.mongodb_database
    with MongoClient[Document](settings.mongodb, tz_aware=True) as client, client.start_session() as session:
        at_once = EVENTS_MAX * len(stops)
        for found in messages(settings.kafka, topic, stops, at_once, _GATHER_S):
            batches: dict[int, list[Record]] = {}
            for record in map(_record, found):
                batches.setdefault(record.partition, []).append(record)
            for batch in batches.values():
                for start in range(0, len(batch), EVENTS_MAX):
                    piece = batch[start : start + EVENTS_MAX]
                    project(session, family, database, topic, partitions, piece)
            events += len(found)
    return events


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    headers: Any = message.headers() or []
    return Record(partition, offset, message.key(), message.value(), headers, message.timestamp()[1])


def main() -> None:
    settings, wanted, threads = read_settings(), family(sys.argv[1]), int(sys.argv[2])
    stops = {int(p): int(stop) for p, _, stop in (pair.partition("=") for pair in sys.argv[3:])}
    # The product makes collections, indexes and checkpoints.
    log = KafkaLog(settings.kafka, settings.topic_jobs)
    store = Store(settings.mongodb, settings.mongodb_database)
    ensure(store, wanted, settings.topic_jobs, log.topic_id, log.partitions)
    partitions = log.partitions
    log.close(1.0)
    gc.freeze()
    gc.set_threshold(50_000)  # as the product does
    watch = Watch()
    with ThreadPoolExecutor(threads) as pool:
        shares = [{p: stop for p, stop in stops.items() if p % threads == n} for n in range(threads)]
        events = sum(pool.map(lambda share: work_off(settings, wanted, partitions, share), shares))
    share = watch.share(events, jobs=store.database["jobs_g1"].estimated_document_count())
    store.close()
    share.tell()


if __name__ == "__main__":
    main()
