"""The event log: one port, a real adapter (Kafka) and an in-memory one for unit tests."""
