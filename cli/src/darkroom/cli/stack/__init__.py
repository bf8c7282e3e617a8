"""The embedded stack: a real Kafka, a real MongoDB and the services, as child processes of `darkroom up`."""
