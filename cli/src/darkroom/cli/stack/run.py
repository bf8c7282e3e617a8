"""Runs a whole stack in the foreground until it is told to stop."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from types import FrameType

from darkroom.cli.stack import datafolder
from darkroom.cli.stack.jars import Progress
from darkroom.cli.stack.parts import Part
from darkroom.cli.stack.places import last_ready_file
from darkroom.cli.stack.plan import Options, Plan, make_plan
from darkroom.cli.stack.readyfile import remove_ready_files, write_ready_file
from darkroom.cli.stack.services import COMMANDS
from darkroom.cli.stack.supervisor import Stopped, Supervisor
from darkroom.runtime.settings import read_settings


def say(line: str) -> None:
    with suppress(BrokenPipeError):  # the reader left; the stack stays
        print(line, flush=True)


def run_stack(
    options: Options,
    commands: Mapping[str, tuple[str, ...]] = COMMANDS,
    say: Callable[[str], None] = say,
    progress: Progress | None = None,
) -> None:
    """Returns after an orderly stop by a signal. Raises StackError, SettingsError."""
    stopping = threading.Event()
    _stop_on_signals(stopping)
    with datafolder.opened(options.data, options.replicas, reset=options.reset) as data:
        plan = make_plan(options, read_settings(), commands, progress)
        ready_files = [path for path in (options.ready_file, last_ready_file()) if path]
        if options.ready_file:
            options.ready_file.unlink(missing_ok=True)  # of a stack that was killed: nobody is to believe it
        logs = data / "logs"
        _rotate(logs)
        say(f"data in {data}")

        def publish() -> None:
            for path in ready_files:
                write_ready_file(path, {**plan.ready, "pids": supervisor.pids()})

        supervisor = Supervisor(logs, say, publish, stopping, restart=options.restart)
        try:
            if plan.cluster:
                plan.cluster.format(logs)
            for layer in _start_groups(plan):
                supervisor.start(layer)
            publish()
            _welcome(plan, say)
            supervisor.watch()
        except Stopped:
            say("stopped while starting")
        finally:
            remove_ready_files(ready_files, os.getpid())
            supervisor.stop()


def _start_groups(plan: Plan) -> Iterable[list[Part]]:
    """Servers first, then all services together: they wait for what they need by themselves."""
    for _, group in groupby(plan.parts, key=lambda part: part.layer == 0):
        yield list(group)


def _welcome(plan: Plan, say: Callable[[str], None]) -> None:
    if plan.ready["query_url"]:
        say(f"everything is ready; the page: {plan.ready['query_url']}/   (Ctrl-C stops)")
    else:
        say("everything is ready   (Ctrl-C stops)")


def _rotate(logs: Path) -> None:
    """Keeps the logs of the last start only: they are bounded by being begun anew."""
    for log in logs.glob("*.log"):
        os.replace(log, log.with_suffix(".log.1"))


def _stop_on_signals(stopping: threading.Event) -> None:
    def stop(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            os._exit(130)  # a second Ctrl-C: the children die with this process, by their parent-death signal
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
