"""What the services were told before: names, digests, ids and positions that requests may use, so that a good share
of them is accepted. Filled by planting a little of everything, and by learning from answers."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Generic, TypeVar

import httpx
from PIL import Image

T = TypeVar("T")
BUNDLED = ("shapes-classifier", "shapes-detector")
PROTECTED = frozenset({*BUNDLED, "shapes-classifier-tf"})
"""Models that other tests use: no request may retire them."""
OWN_MODELS = 20
TFLITE = Path(__file__).parents[2] / "models" / "bundled" / "shapes-classifier" / "model.tflite"
_KEPT_MAX = 200
_LEFT_MIN = 5
_TIMEOUT_S = 60.0


class Pool(Generic[T]):
    """The last values of a kind. Bounded; never empty once something was added."""

    def __init__(self, *values: T) -> None:
        self._values: list[T] = list(values)

    def add(self, value: T) -> None:
        if len(self._values) >= _KEPT_MAX:
            self._values.pop(0)
        self._values.append(value)

    def pick(self, random: Random) -> T:
        return random.choice(self._values)

    def drop(self, value: T, left_min: int = 0) -> None:
        """Takes a value out, if it is there and enough others are."""
        if value in self._values and len(self._values) > left_min:
            self._values.remove(value)

    def __len__(self) -> int:
        return len(self._values)


def picture(form: str = "PNG", size_px: tuple[int, int] = (8, 6), colour: int = 0) -> bytes:
    """A picture of one colour."""
    content = io.BytesIO()
    Image.new("RGB", size_px, (colour % 256, 90, 30)).save(content, form)
    return content.getvalue()


@dataclass(slots=True)
class Known:
    """Pools of what is there. `ended`: jobs with results, that no request deletes; `own_models`: (name, version) of
    those that were registered here."""

    label: str
    command_api: str
    model_file: bytes
    description: dict[str, Any]
    pictures: Sequence[bytes]
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=_TIMEOUT_S))
    jobs: Pool[str] = field(default_factory=Pool)
    ended: Pool[str] = field(default_factory=Pool)
    deleted: Pool[str] = field(default_factory=Pool)
    digests: Pool[str] = field(default_factory=Pool)
    models: Pool[str] = field(default_factory=lambda: Pool(*BUNDLED, *(f"{name}@1" for name in BUNDLED)))
    own_models: Pool[tuple[str, str]] = field(default_factory=Pool)
    versions: Pool[int] = field(default_factory=lambda: Pool(1, 2, 3))
    positions: Pool[str] = field(default_factory=Pool)
    model_positions: Pool[str] = field(default_factory=Pool)
    cursors: Pool[str] = field(default_factory=Pool)
    keys: Pool[str] = field(default_factory=lambda: Pool("fuzz-key"))
    serial: Iterator[int] = field(default_factory=lambda: count(1))

    @classmethod
    def planted(cls, command_api: str, query_api: str, label: str) -> "Known":
        """Plants pictures and jobs of every state. `label` is of this run alone; the bundled models are there."""
        told = json.loads((TFLITE.parent / "description.json").read_text())
        known = cls(
            label=label,
            command_api=command_api,
            model_file=TFLITE.read_bytes(),
            description={k: v for k, v in told.items() if k not in ("name", "version", "artifact", "source")},
            pictures=[picture(form, colour=n) for n, form in enumerate(("PNG", "JPEG", "GIF", "BMP", "WEBP"))],
        )
        for data in known.pictures:
            known.digests.add(known._told("POST", f"{command_api}/media", content=data)["digest"])
        for number in range(4):
            known.create(BUNDLED[number % 2], execute=False)
        for number in range(4):
            accepted = known.create(BUNDLED[number % 2], execute=True)
            known.jobs.drop(accepted["id"])
            known.ended.add(accepted["id"])
            known._told("GET", f"{query_api}/jobs/{accepted['id']}?after={accepted['position']}", Prefer="wait=60")
        gone = known.create(BUNDLED[0], execute=False)["id"]
        known.jobs.drop(gone)
        known.deleted.add(known._told("DELETE", f"{command_api}/jobs/{gone}")["id"])
        return known

    def close(self) -> None:
        self.client.close()

    def create(self, model: str, *, execute: bool) -> dict[str, Any]:
        """A job by a plain request, under a key; the body of its 202."""
        key = self.fresh()
        self.keys.add(key)
        media = self.digests.pick(Random(key))
        body = {"model": model, "inputs": [{"media": media}], "labels": {"batch": self.label}, "execute": execute}
        accepted: dict[str, Any] = self._told("POST", f"{self.command_api}/jobs", json=body, Idempotency_Key=key)
        self.learn_job(accepted)
        return accepted

    def fresh(self) -> str:
        """A name that was never used."""
        return f"{self.label}-{next(self.serial)}"

    def learn_job(self, accepted: dict[str, Any]) -> None:
        """From the body of a 202."""
        self.jobs.add(accepted["id"])
        self.positions.add(accepted["position"])
        self.versions.add(accepted["version"])

    def learn(self, operation_id: str, status: int, body: Any) -> None:
        """From any answer that was in order."""
        match operation_id, status, body:
            case "deleteJob", 202, {"id": job}:
                self.jobs.drop(job, _LEFT_MIN)
                self.deleted.add(job)
            case "createJob" | "putJob", 202, {"id": _, "version": _}:
                self.learn_job(body)
            case "runJob" | "cancelJob", 202, {"version": version, "position": position}:
                self.positions.add(position)
                self.versions.add(version)
            case "registerModel", 202, {"name": name, "position": position, "version": version}:
                self.model_positions.add(position)
                self.models.add(f"{name}@{version}")
                self.own_models.add((name, version))
            case "uploadMedia", 201, {"digest": digest}:
                self.digests.add(digest)
            case _, 200, {"next": str(cursor)}:
                self.cursors.add(cursor)

    def _told(self, method: str, url: str, **more: Any) -> Any:
        headers = {k.replace("_", "-"): more.pop(k) for k in ("Prefer", "Idempotency_Key") if k in more}
        answer = self.client.request(method, url, headers=headers, **more)
        assert answer.is_success, answer.text
        return answer.json()
