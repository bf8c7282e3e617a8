"""Runs many schedules, or one with its story told.

    python -m darkroom.runtime.modelcheck --schedules 200000 --state FILE
    python -m darkroom.runtime.modelcheck --seed N --trace

With a state file a long run that was ended goes on where it was, and its failures stand in there.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

from darkroom.runtime.modelcheck.campaign import FAILURES_MAX, run_all
from darkroom.runtime.modelcheck.machine import simulated
from darkroom.runtime.modelcheck.reference import Violation
from darkroom.runtime.modelcheck.world import run_schedule


def main() -> int:
    """Returns the exit status: 1 if any schedule has failed."""
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.runtime.modelcheck",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--schedules", type=int, default=10_000, metavar="COUNT")
    parser.add_argument("--from-seed", type=int, default=0, metavar="N")
    parser.add_argument("--workers", type=int, metavar="N", help="processes, instead of one per core")
    parser.add_argument("--state", type=Path, default=None, metavar="FILE", help="go on from here, and save here")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="run this one schedule only")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell what happens")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, asked.trace)
    return _many(asked.from_seed, asked.schedules, asked.workers, asked.state)


def _one(seed: int, trace: bool) -> int:
    with simulated():
        try:
            counts = run_schedule(seed, trace=print if trace else None)
        except Violation as violation:
            print(f"FAILED {violation}")
            return 1
    print(f"seed {seed} holds: {_told(counts)}")
    return 0


def _many(first: int, schedules: int, workers: int | None, state: Path | None) -> int:
    done, before_s, failures, counts = 0, 0.0, list[str](), Counter[str]()
    if state is not None and state.exists():
        saved = json.loads(state.read_text())
        first, done, before_s = saved["from_seed"], saved["done"], saved["seconds"]
        failures, counts = saved["failures"], Counter(saved["counts"])
    began = monotonic() - before_s
    seconds = before_s
    for chunk in run_all(first + done, max(0, schedules - done), workers):
        for failure in chunk.failures:
            print(f"FAILED {failure}", flush=True)
        done, seconds = chunk.end - first, monotonic() - began
        failures += chunk.failures
        counts += chunk.counts
        if state is not None:
            said = {"from_seed": first, "done": done, "seconds": seconds, "failures": failures, "counts": counts}
            state.write_text(json.dumps(said, indent=1))
        if sys.stdout.isatty():
            print(f"\r{done} of {schedules}, {len(failures)} failed", end="", flush=True)
        if len(failures) >= FAILURES_MAX:
            break
    rate = done / max(seconds, 0.001)
    print(f"\n{done} schedules from seed {first} in {seconds:.0f} s ({rate:.0f}/s): {len(failures)} failed")
    print(_told(counts))
    return 1 if failures else 0


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
