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
_TIMEOUT_S = 60.0


class Pool(Generic[T]):
    """The last values of a kind. Bounded; never empty once something was added."""

    def __init__(self, *values: T) -> None:
        self._values: list[T] = list(values)
        self._added = len(values)

    def add(self, value: T) -> None:
        if len(self._values) < _KEPT_MAX:
            self._values.append(value)
        else:
            self._values[self._added % _KEPT_MAX] = value
        self._added += 1

    def pick(self, random: Random) -> T:
        return random.choice(self._values)

    def __len__(self) -> int:
        return len(self._values)


def picture(form: str = "PNG", size_px: tuple[int, int] = (8, 6), colour: int = 0) -> bytes:
    """A picture of one colour."""
    content = io.BytesIO()
    Image.new("RGB", size_px, (colour % 256, 90, 30)).save(content, form)
    return content.getvalue()


@dataclass(slots=True)
class Known:
    """Pools of what is there. Job ids of every state, deleted ones too: what a command does to them differs."""

    label: str
    model_file: bytes
    description: dict[str, Any]
    pictures: Sequence[bytes]
    jobs: Pool[str] = field(default_factory=Pool)
    digests: Pool[str] = field(default_factory=Pool)
    models: Pool[str] = field(default_factory=lambda: Pool(*BUNDLED, *(f"{name}@1" for name in BUNDLED)))
    versions: Pool[int] = field(default_factory=lambda: Pool(1, 2, 3))
    positions: Pool[str] = field(default_factory=Pool)
    model_positions: Pool[str] = field(default_factory=Pool)
    cursors: Pool[str] = field(default_factory=Pool)
    keys: Pool[str] = field(default_factory=lambda: Pool("fuzz-key"))
    serial: Iterator[int] = field(default_factory=lambda: count(1))

    @classmethod
    def planted(cls, command_api: str, query_api: str, label: str) -> "Known":
        """Plants pictures and jobs of every state. `label` is of this run alone; the bundled models are there."""
        folder = TFLITE.parent
        description = {
            k: v
            for k, v in json.loads((folder / "description.json").read_text()).items()
            if k not in ("name", "version", "artifact", "source")
        }
        known = cls(
            label=label,
            model_file=TFLITE.read_bytes(),
            description=description,
            pictures=[picture(form, colour=n) for n, form in enumerate(("PNG", "JPEG", "GIF", "BMP", "WEBP"))],
        )
        with httpx.Client(timeout=_TIMEOUT_S) as client:

            def told(method: str, url: str, **more: Any) -> Any:
                answer = client.request(method, url, **more)
                assert answer.is_success, answer.text
                return answer.json()

            for data in known.pictures:
                known.digests.add(told("POST", f"{command_api}/media", content=data)["digest"])
            for number, execute in enumerate((True, True, True, False, False, False)):
                body = {
                    "model": BUNDLED[number % 2],
                    "inputs": [{"media": known.digests.pick(Random(number))}],
                    "labels": {"batch": label},
                    "execute": execute,
                }
                accepted = told(
                    "POST", f"{command_api}/jobs", json=body, headers={"Idempotency-Key": f"{label}-p{number}"}
                )
                known.keys.add(f"{label}-p{number}")
                known.learn_job(accepted)
                if execute:
                    told(
                        "GET",
                        f"{query_api}/jobs/{accepted['id']}",
                        headers={"Prefer": "wait=30"},
                        params={"after": accepted["position"]},
                    )
                elif number == 5:
                    told("DELETE", f"{command_api}/jobs/{accepted['id']}")
        return known

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
            case _, 202, {"id": _, "version": _}:
                self.learn_job(body)
            case _, 202, {"name": name, "position": position, "version": version}:
                self.model_positions.add(position)
                self.models.add(f"{name}@{version}")
            case "uploadMedia", 201, {"digest": digest}:
                self.digests.add(digest)
            case _, 200, {"next": str(cursor)}:
                self.cursors.add(cursor)
