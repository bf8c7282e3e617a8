"""Every setting of every service, read once from the environment into one frozen object.

Names, defaults and meanings are listed in `.env.example`.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from environs import Env, EnvError
from marshmallow import validate


class SettingsError(ValueError):
    """The environment holds a setting that cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    kafka: str
    mongodb: str
    mongodb_database: str
    blobs: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str
    data: Path
    topic_jobs: str
    topic_models: str
    topic_heartbeats: str
    partitions: int
    replication: int
    bind: str
    command_port: int
    query_port: int
    health_port: int
    command_url: str
    query_url: str
    cors_origins: tuple[str, ...]
    log: str
    http_threads: int
    request_deadline_s: float
    start_timeout_s: float
    body_size_bytes_max: int
    model_size_bytes_max: int
    inputs_size_bytes_max: int
    picture_pixels_max: int
    picture_deadline_s: float
    picture_decoders: int
    heads_copy_events: int
    lease_s: float
    max_attempts: int
    executor_workers: int
    samples: str


def read_settings() -> Settings:
    """The settings of this process. Raises SettingsError."""
    env = Env()
    at_least_1 = validate.Range(min=1)
    port = validate.Range(min=0, max=65_535)
    positive = validate.Range(min=0, min_inclusive=False)
    try:
        with env.prefixed("DARKROOM_"):
            data = Path(env.str("DATA", str(Path(gettempdir()) / "darkroom")))
            command_port = env.int("COMMAND_PORT", 8080, validate=port)
            query_port = env.int("QUERY_PORT", 8081, validate=port)
            query_url = env.str("QUERY_URL", f"http://127.0.0.1:{query_port}").rstrip("/")
            return Settings(
                kafka=env.str("KAFKA", "127.0.0.1:9093"),
                mongodb=env.str("MONGODB", "mongodb://127.0.0.1:27018/?directConnection=true"),
                mongodb_database=env.str("MONGODB_DATABASE", "darkroom"),
                blobs=env.str("BLOBS", f"file://{data}/blobs"),
                s3_endpoint=env.str("S3_ENDPOINT", ""),
                s3_access_key=env.str("S3_ACCESS_KEY", ""),
                s3_secret_key=env.str("S3_SECRET_KEY", ""),
                s3_region=env.str("S3_REGION", "us-east-1"),
                data=data,
                topic_jobs=env.str("TOPIC_JOBS", "darkroom.jobs.v1"),
                topic_models=env.str("TOPIC_MODELS", "darkroom.models.v1"),
                topic_heartbeats=env.str("TOPIC_HEARTBEATS", "darkroom.heartbeats.v1"),
                partitions=env.int("PARTITIONS", 8, validate=at_least_1),
                replication=env.int("REPLICATION", 1, validate=at_least_1),
                bind=env.str("BIND", "127.0.0.1"),
                command_port=command_port,
                query_port=query_port,
                health_port=env.int("HEALTH_PORT", 0, validate=port),
                command_url=env.str("COMMAND_URL", f"http://127.0.0.1:{command_port}").rstrip("/"),
                query_url=query_url,
                cors_origins=tuple(env.list("CORS_ORIGINS", [query_url])),
                log=env.str("LOG", "json", validate=validate.OneOf(["json", "console"])),
                http_threads=env.int("HTTP_THREADS", 64, validate=at_least_1),
                request_deadline_s=env.float("REQUEST_DEADLINE_S", 5.0, validate=positive),
                start_timeout_s=env.float("START_TIMEOUT_S", 60.0, validate=positive),
                body_size_bytes_max=env.int("BODY_SIZE_BYTES_MAX", 32 * 2**20, validate=at_least_1),
                model_size_bytes_max=env.int("MODEL_SIZE_BYTES_MAX", 512 * 2**20, validate=at_least_1),
                inputs_size_bytes_max=env.int("INPUTS_SIZE_BYTES_MAX", 256 * 2**20, validate=at_least_1),
                picture_pixels_max=env.int("PICTURE_PIXELS_MAX", 50_000_000, validate=at_least_1),
                picture_deadline_s=env.float("PICTURE_DEADLINE_S", 5.0, validate=positive),
                picture_decoders=env.int("PICTURE_DECODERS", 1, validate=at_least_1),
                heads_copy_events=env.int("HEADS_COPY_EVENTS", 250_000, validate=validate.Range(min=0)),
                lease_s=env.float("LEASE_S", 15.0, validate=positive),
                max_attempts=env.int("MAX_ATTEMPTS", 3, validate=at_least_1),
                executor_workers=env.int("EXECUTOR_WORKERS", 2, validate=at_least_1),
                samples=env.str("SAMPLES", ""),
            )
    except EnvError as error:
        raise SettingsError(str(error)) from None
