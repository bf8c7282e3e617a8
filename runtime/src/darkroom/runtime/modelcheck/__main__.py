"""Runs many schedules, or one with its story told.

    python -m darkroom.runtime.modelcheck --schedules 200000 [--from-seed N] [--state FILE]
    python -m darkroom.runtime.modelcheck --seed N --trace

A long run writes the next seed and the failures into its state file every few hundred schedules, and goes on
there when it is started again with the same file.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

from darkroom.runtime.modelcheck.machine import simulated
from darkroom.runtime.modelcheck.reference import Violation
from darkroom.runtime.modelcheck.world import run_schedule

_SAVED_EVERY = 500
_FAILURES_KEPT_MAX = 20


def main() -> int:
    """Returns the exit status: 1 if any schedule has failed."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.runtime.modelcheck", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000, metavar="COUNT")
    parser.add_argument("--from-seed", type=int, default=0, metavar="N")
    parser.add_argument("--state", type=Path, default=None, metavar="FILE", help="resume from here, and save here")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="run this one schedule only")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell what happens")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, asked.trace)
    return _many(asked.from_seed, asked.schedules, asked.state)


def _one(seed: int, trace: bool) -> int:
    with simulated():
        try:
            counts = run_schedule(seed, trace=print if trace else None)
        except Violation as violation:
            print(f"FAILED {violation}")
            return 1
    print(f"seed {seed} holds: {_told(counts)}")
    return 0


def _many(first: int, schedules: int, state: Path | None) -> int:
    seed, seconds, failures, counts = first, 0.0, list[str](), Counter[str]()
    if state is not None and state.exists():
        saved = json.loads(state.read_text())
        first, seed, seconds = saved["from_seed"], saved["next_seed"], saved["seconds"]
        failures, counts = saved["failures"], Counter(saved["counts"])
    began = monotonic() - seconds
    with simulated():
        while seed < first + schedules:
            try:
                counts += run_schedule(seed)
            except Violation as violation:
                print(f"FAILED {violation}", flush=True)
                failures.append(str(violation))
            seed += 1
            if seed % _SAVED_EVERY == 0 or seed == first + schedules or len(failures) >= _FAILURES_KEPT_MAX:
                seconds = monotonic() - began
                if state is not None:
                    said = {"from_seed": first, "next_seed": seed, "seconds": seconds, "failures": failures}
                    state.write_text(json.dumps(said | {"counts": counts}, indent=1))
                if sys.stdout.isatty():
                    print(f"\r{seed - first} of {schedules}, {len(failures)} failed", end="", flush=True)
            if len(failures) >= _FAILURES_KEPT_MAX:
                break
    done = seed - first
    print(f"\n{done} schedules from seed {first} in {seconds:.0f} s ({done / max(seconds, 0.001):.0f}/s): "
          f"{len(failures)} failed\n{_told(counts)}")
    return 1 if failures else 0


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
