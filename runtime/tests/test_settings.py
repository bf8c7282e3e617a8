"""Settings: the defaults, what is derived from what, and refusals that name the setting."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from darkroom.runtime.settings import SettingsError, read_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [n for n in os.environ if n.startswith("DARKROOM_")]:
        monkeypatch.delenv(name)


def test_the_defaults() -> None:
    settings = read_settings()
    assert settings.kafka == "127.0.0.1:9093"
    assert (settings.command_url, settings.query_url) == ("http://127.0.0.1:8080", "http://127.0.0.1:8081")
    assert settings.cors_origins == ("http://127.0.0.1:8081",)
    assert (settings.topic_jobs, settings.partitions, settings.replication) == ("darkroom.jobs.v1", 8, 1)
    assert settings.blobs == f"file://{settings.data}/blobs"
    with pytest.raises(FrozenInstanceError):
        settings.kafka = "other"  # type: ignore[misc]


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_DATA", "/data")
    monkeypatch.setenv("DARKROOM_QUERY_URL", "https://example.org/")
    monkeypatch.setenv("DARKROOM_COMMAND_PORT", "9000")
    settings = read_settings()
    assert (settings.data, settings.blobs) == (Path("/data"), "file:///data/blobs")
    assert settings.query_url == "https://example.org"
    assert settings.cors_origins == ("https://example.org",)
    assert settings.command_url == "http://127.0.0.1:9000"
    monkeypatch.setenv("DARKROOM_CORS_ORIGINS", "http://a,http://b")
    assert read_settings().cors_origins == ("http://a", "http://b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARTITIONS", "0"),
        ("PARTITIONS", "many"),
        ("PARTITIONS", "1.5"),
        ("REPLICATION", "-1"),
        ("LOG", "xml"),
        ("LEASE_S", "0"),
        ("LEASE_S", "nan"),
        ("LEASE_S", "inf"),
        ("REQUEST_DEADLINE_S", "-1"),
        ("MAX_ATTEMPTS", "0"),
        ("HEADS_COPY_EVENTS", "-1"),
        ("COMMAND_PORT", "99999"),
        ("HEALTH_PORT", "-1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DARKROOM_{name}", value)
    with pytest.raises(SettingsError, match=name):
        read_settings()
