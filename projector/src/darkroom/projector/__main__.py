"""The projector service: `python -m darkroom.projector`. Chooses the adapters, and runs one loop per topic."""

import argparse
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from darkroom.projector.ends import end_offsets
from darkroom.projector.live import Group, Live
from darkroom.projector.projections.families import JOBS, MODELS, Family
from darkroom.projector.store import Fenced, Store, folds_of
from darkroom.projector.store_generations import check, ensure, outdated
from darkroom.runtime.eventlog.kafka import KafkaLog, Membership
from darkroom.runtime.eventlog.topics import ensure_all_topics
from darkroom.runtime.lifecycle import serve_health, stop_on_signals
from darkroom.runtime.settings import Settings, SettingsError, read_settings
from darkroom.runtime.telemetry import configure_logging
from darkroom.schemas.errors import DarkroomError, LogUnavailable

_log = logging.getLogger("darkroom.projector")

GROUP = "darkroom-projector"
_STOP_TIMEOUT_S = 7.0
"""For all loops together, and for what they close: a service has 10 s to stop."""
_ENDS_TIMEOUT_S = 5.0


@dataclass
class _Loops:
    """The loops of this process, each in a thread that also closes what the loop had open; one that fails stops
    all."""

    stopping: threading.Event
    live: list[Live] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def start(self, name: str, live: Live, join: Callable[[], Group], opened: ExitStack) -> None:
        def run() -> None:
            try:
                with opened:
                    live.run(join(), self.stopping)
            except BaseException as error:
                self.failures.append(error)
                self.stopping.set()

        self.live.append(live)
        self.threads.append(threading.Thread(target=run, name=f"live-{name}", daemon=True))
        self.threads[-1].start()

    def join(self, timeout_s: float) -> bool:
        """Whether all of them have ended within `timeout_s`, which is for all of them together."""
        until = monotonic() + timeout_s
        for thread in self.threads:
            thread.join(max(0.0, until - monotonic()))
        return not any(thread.is_alive() for thread in self.threads)

    def why_not_ready(self) -> str | None:
        return next((reason for live in self.live if (reason := live.why_not_ready)), None)


def prepare(store: Store, family: Family, log: KafkaLog) -> None:
    """Makes what a first start needs in MongoDB, and refuses (ValueError) a log that does not fit it."""
    try:
        check(store, family, log.topic, log.topic_id, partial(end_offsets, log, _ENDS_TIMEOUT_S))
    except LogUnavailable as error:
        raise Fenced(str(error)) from None  # as with anything that passes: ask again a little later
    ensure(store, family, log.topic, log.topic_id, log.partitions)
    for read_model in outdated(store, family):
        _log.warning(
            "the live generation of %s was made by another version of its fold: run `darkroom replay`", read_model
        )


def run(settings: Settings, group: str) -> int:
    """Projects until a signal comes. Returns the exit code."""
    stopping = stop_on_signals()
    topics = {JOBS: settings.topic_jobs, MODELS: settings.topic_models}
    ensure_all_topics(settings)
    loops = _Loops(stopping)
    with ExitStack() as opened:
        for family, topic in topics.items():
            with ExitStack() as opening:
                log = KafkaLog(settings.kafka, topic)
                opening.callback(log.close, 1.0)
                store = Store(settings.mongodb, settings.mongodb_database)
                opening.callback(store.close)
                its_own = opening.pop_all()
            live = Live(family, topic, log, store, partial(prepare, store, family, log))
            # Old and new versions of the folds work side by side, so each has a group of its own.
            join = partial(_join, settings.kafka, topic, f"{group}.{family.name}.{folds_of(family)}")
            loops.start(family.name, live, join, its_own)
        health = serve_health(settings.bind, settings.health_port, loops.why_not_ready)
        if health:
            opened.callback(health.shutdown)
        gc.freeze()
        gc.set_threshold(500_000)  # a batch makes much garbage, and hardly any of it in cycles
        stopping.wait()
        ended = loops.join(_STOP_TIMEOUT_S)
        for failure in loops.failures:
            _log.error("the projector has stopped: %s", failure, exc_info=not isinstance(failure, ValueError))
        code = 1 if loops.failures else 0
        if not ended:
            _log.error("a loop did not end in time; its transaction ends by itself")
            logging.shutdown()
            os._exit(code)  # an ordinary exit would wait for the same MongoDB again, in its driver's exit hook
    return code


def _join(bootstrap: str, topic: str, group: str) -> Membership:
    def changed(_partitions: set[int]) -> None:
        """The loop compares the assignment itself."""

    return Membership(bootstrap, topic, group, on_assigned=changed, on_revoked=changed)


def main() -> int:
    """Returns the exit code: 0 after a signal, 1 where a person has to do something, 2 for bad settings."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.projector", description=__doc__)
    parser.add_argument("--group", default=GROUP, help="consumer group; members of one group share the partitions")
    arguments = parser.parse_args()
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"darkroom projector: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log, "projector")
    try:
        return run(settings, arguments.group)
    except (ValueError, DarkroomError) as error:
        _log.error("the projector cannot start: %s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
