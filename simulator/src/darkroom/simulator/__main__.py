"""The simulator as a container: `python -m darkroom.simulator`, set by the environment.

DARKROOM_COMMAND_URL (where to), DARKROOM_SIMULATE_RATE (2 per second), DARKROOM_SIMULATE_COUNT (0: endless),
DARKROOM_SIMULATE_SEED (1), DARKROOM_SIMULATE_MODELS (shapes-classifier,shapes-detector).
"""

import sys
from pathlib import Path

from environs import Env

from darkroom.runtime.ids import new_id
from darkroom.runtime.lifecycle import stop_on_signals
from darkroom.runtime.settings import read_settings
from darkroom.simulator import pictures, scenario
from darkroom.simulator.client import CommandClient
from darkroom.simulator.run import Pace, Simulation


def main() -> int:
    """0 if every answer was the right one, otherwise 1."""
    stopping = stop_on_signals()
    settings = read_settings()
    env = Env()
    with env.prefixed("DARKROOM_SIMULATE_"):
        rate_per_s = env.float("RATE", 2.0)
        count = env.int("COUNT", 0)
        seed = env.int("SEED", 1)
        models = env.list("MODELS", ["shapes-classifier", "shapes-detector"])
        samples = env.str("SAMPLES", "")
    pool = pictures.pool(seed, Path(samples) if samples else None)
    client = CommandClient(settings.command_url)
    simulation = Simulation(
        client,
        scenario.actions(seed, new_id(), models, len(pool)),
        pool,
        Pace(rate_per_s=rate_per_s, count=count or None),
        on_summary=lambda summary: print(summary.line(), flush=True),
        summary_every_s=10.0,
    )
    summary = simulation.run(stopping)
    client.close()
    for finding in summary.findings:
        print(f"unexpected: {finding}", file=sys.stderr, flush=True)
    return 1 if summary.unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
