"""The shared servers are real: what the other tests rely on is there."""

from confluent_kafka.admin import AdminClient
from pymongo import MongoClient


def test_kafka_answers(kafka: str) -> None:
    found = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=5)
    assert [f"{b.host}:{b.port}" for b in found.brokers.values()] == [kafka]


def test_mongodb_has_transactions(mongodb: str, unique_name: str) -> None:
    with MongoClient[dict[str, int]](mongodb) as client:
        notes = client[unique_name].notes
        with client.start_session() as session:
            with session.start_transaction():
                notes.insert_one({"n": 1}, session=session)
            session.start_transaction()
            notes.insert_one({"n": 2}, session=session)
            session.abort_transaction()
        assert [note["n"] for note in notes.find()] == [1]
