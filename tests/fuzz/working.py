"""One process of the campaign."""

import signal
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from random import Random

from .known import Known
from .loop import fuzz
from .reporting import Report
from .sending import Sender
from .targets import API, Target, targets_of

_BATCH = 12
_VARIANTS = 4
"""To generate is what costs most."""


def work(number: int, command_url: str, query_url: str, seed: int, enough: Event, reports: "Queue[Report]") -> None:
    """Sends to all operations, in small batches and an order of its own, until there are enough requests."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    known = Known.planted(command_url + API, query_url + API, f"fuzz-{seed}-{number}")
    found: list[tuple[Target, Sender]] = []
    for url in (command_url, query_url):
        sender = Sender(url)
        found += [(target, sender) for target in targets_of(url).values()]
    order = Random(f"{seed}-{number}")
    while not enough.is_set():
        target, sender = order.choice(found)
        examples = 1 if target.id == "streamEvents" else _BATCH
        reports.put(fuzz(target, known, sender, examples, order.getrandbits(64), _VARIANTS))
