"""The campaign: a stack of its own, several processes, as many requests as asked for. Exit status 1 for a find."""

import argparse
import multiprocessing
import signal
import sys
import tempfile
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from time import monotonic

from rich.console import Console

from darkroom.cli.connect import Stack, find_stack
from darkroom.cli.demostack import run_command, running_stack

from .reporting import Report
from .working import work

_TELL_EVERY_S = 20.0
_SILENCE_S_MAX = 180.0
_SERVICES = ("command-api", "query-api", "projector", "executor")


def main() -> int:
    told = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    told.add_argument("requests", type=int, nargs="?", default=100_000)
    told.add_argument("--workers", type=int, default=4, help="processes that send")
    told.add_argument("--seed", type=int, default=1)
    asked = told.parse_args()
    for stopping in (signal.SIGINT, signal.SIGTERM):  # told to stop, it tells what it found so far
        signal.signal(stopping, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-fuzz-") as folder:
        with running_stack(console, Path(folder)) as (stack, ready_file):
            if run_command(console, ready_file, "models", "add", "--bundled"):
                return 1
            begun = monotonic()
            report, complaints = _campaign(console, stack, asked.requests, asked.workers, asked.seed)
            took_s = monotonic() - begun
            console.print(report.table(), markup=False)
            console.print(f"{report.requests} requests in {took_s:.0f} s: {report.requests / took_s:.0f} a second")
            after = find_stack(ready_file)
            complaints += [
                f"{kind} died and was started anew" for kind in _SERVICES if stack.pids[kind] != after.pids[kind]
            ]
            if run_command(console, ready_file, "replay", "--check"):
                complaints.append("the read models are not what the log says")
        complaints += _stack_traces(Path(folder))
    if report.violations:
        complaints.append(f"{len(report.violations)} kinds of violations:\n\n{report.told()}")
    for complaint in complaints or ["no violations"]:
        console.print(complaint, markup=False)
    return 1 if complaints else 0


def _campaign(console: Console, stack: Stack, count: int, workers: int, seed: int) -> tuple[Report, list[str]]:
    context = multiprocessing.get_context("spawn")
    enough, reports = context.Event(), context.Queue()
    senders = [
        context.Process(
            target=work, args=(n, stack.command_url, stack.query_url, seed, enough, reports), daemon=True
        )
        for n in range(workers)
    ]
    for sender in senders:
        sender.start()
    total, complaints = Report(), []
    begun = told_at = monotonic()
    heard_at = begun
    try:
        while total.requests < count:
            if dead := _failed(senders):
                complaints.append(dead)
                break
            try:
                found = reports.get(timeout=1.0)
                heard_at = monotonic()
                for key in found.violations.keys() - total.violations.keys():
                    console.print(found.told(key), markup=False)
                total.add(found)
            except Empty:
                if monotonic() - heard_at > _SILENCE_S_MAX:
                    complaints.append(f"nothing was heard of the senders for {_SILENCE_S_MAX:g} s")
                    break
            if monotonic() - told_at > _TELL_EVERY_S:
                told_at = monotonic()
                rate = total.requests / (told_at - begun)
                kinds = f"{len(total.violations)} kinds of violations"
                console.print(f"{total.requests} requests, {rate:.0f} a second, {kinds}")
    except KeyboardInterrupt:
        complaints.append("interrupted")
    enough.set()
    _drain(reports, senders, total)
    if (dead := _failed(senders)) and dead not in complaints:
        complaints.append(dead)
    for sender in senders:
        sender.kill()
        sender.join()
    return total, complaints


def _failed(senders: list[multiprocessing.context.SpawnProcess]) -> str | None:
    """Which senders have ended by themselves, and not because there was enough."""
    dead = [f"{s.name} ended with status {s.exitcode}" for s in senders if s.exitcode]
    return ", ".join(dead) or None


def _drain(reports: "Queue[Report]", senders: list[multiprocessing.context.SpawnProcess], total: Report) -> None:
    """What was on its way: a process ends only once its queue was read."""
    until = monotonic() + _SILENCE_S_MAX
    while any(s.is_alive() for s in senders) and monotonic() < until:
        try:
            total.add(reports.get(timeout=0.5))
        except Empty:
            continue


def _stack_traces(folder: Path) -> list[str]:
    """What the services said of faults that no client saw."""
    return [
        f"{log.stem} logged a stack trace: {line[:500]}"
        for log in sorted((folder / "data" / "logs").glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if "Traceback (most recent call last)" in line
    ][:20]


if __name__ == "__main__":
    sys.exit(main())
