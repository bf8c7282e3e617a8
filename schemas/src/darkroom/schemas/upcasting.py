"""Old event versions, lifted on reading. The log is never rewritten.

A new shape of an event is a new type (`….v2`), and one upcaster from the old type to it: a pure function of the
data alone, one per step, so that a v1 takes the steps v1 → v2 → v3. How to add one: docs/lifecycle.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.schemas.chain import short_type
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.eventdata import SCHEMAS

Upcaster = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]
"""Data of an old type -> the next type, and its data. It may change the dict that it is given. A step changes how
an event is written, never what happened: the short type stays, for the status of a job follows from it."""

UPCASTERS: dict[str, Upcaster] = {}
"""By the type that they lift. None is needed so far."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The event types that this code reads: `current` ones as they are, older ones through `upcasters`."""

    current: Mapping[str, Any]
    upcasters: Mapping[str, Upcaster]

    def lift(self, event_type: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The current type and its data. Raises Undecodable for a type that is not known, and for whatever an
        upcaster raises or makes."""
        if event_type in self.current and event_type not in self.upcasters:
            return event_type, data
        lifted_type = event_type
        for _ in range(len(self.upcasters) + 1):
            step = self.upcasters.get(lifted_type)
            if step is None:
                break
            try:
                lifted_type, data = step(data)
            except Exception as error:  # a body of any content reaches an upcaster
                raise Undecodable(f"the data of {lifted_type} cannot be lifted: {error!r:.200}") from None
            if not isinstance(lifted_type, str) or not isinstance(data, dict):
                raise Undecodable(f"the upcasters of {event_type} made {data!r:.80}, which is no object")
            if short_type(lifted_type) != short_type(event_type):
                raise Undecodable(f"{event_type} cannot become {lifted_type!r:.80}: that is not what happened")
        else:
            raise Undecodable(f"the upcasters of {event_type} run in a circle")
        if lifted_type not in self.current:
            raise Undecodable(f"unknown event type {event_type!r:.200}")
        return lifted_type, data

    def faults(self, golden: Mapping[str, dict[str, Any]]) -> list[str]:
        """What is wrong with the upcasters, tried on the data of one golden event per type."""
        found = []
        for event_type in self.upcasters:
            if event_type in self.current:
                found.append(f"{event_type} is a current type, and is lifted nevertheless")
            elif event_type not in golden:
                found.append(f"{event_type} has no golden event")
            else:
                try:
                    self.lift(event_type, golden[event_type])
                except Undecodable as error:
                    found.append(f"{event_type}: {error}")
        return found


VERSIONS = Versions(SCHEMAS, UPCASTERS)
"""What the services read."""
