"""`python -m campaign`: rounds of conflicting commands and faults on real processes; status 1 after a violation.

python -m campaign --rounds 30 --faults 5 --seconds 8 --seed 1
python -m campaign --rounds 10 --replicas 3 --seconds 16
python -m campaign --judge FOLDER/SEED      the checker alone, on a history and a log that were kept
"""

import argparse
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic

from campaign.checker import judge
from campaign.fleet import Fleet
from campaign.history import read_calls, read_records
from campaign.rounds import Campaign, Result
from darkroom.runtime.ids import new_id

PARTITIONS = 4


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="campaign", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load in a round")
    parser.add_argument("--faults", type=int, default=5, help="in a round")
    parser.add_argument("--seed", default="1", help="of the first round; the others count on from it")
    parser.add_argument("--replicas", type=int, choices=(1, 3), default=1, help="brokers")
    parser.add_argument("--keep", type=Path, default=Path("campaign-findings"), help="where evidence is kept")
    parser.add_argument("--judge", type=Path, help="judge FOLDER/SEED of an earlier finding, and start nothing")
    options = parser.parse_args()
    if options.judge:
        return _judge(options.judge)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was started is stopped
    begin_s = monotonic()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="darkroom-campaign-") as folder:
        fleet = Fleet(
            Path(folder),
            f"campaign-{new_id()[-8:]}",
            replicas=options.replicas,
            request_deadline_s=3.0,
            lease_s=2.0,
        )
        try:
            campaign = Campaign(fleet)
            try:
                for number in range(options.rounds):
                    seed = f"{options.seed}.{number}"
                    result = campaign.round(seed, seconds=options.seconds, faults=options.faults, keep=options.keep)
                    results.append(result)
                    print(result.line(), flush=True)
                    for violation in result.violations[:20]:
                        print(f"  VIOLATION {violation}", flush=True)
            finally:
                campaign.close()
        finally:
            fleet.close()
    return _summary(results, monotonic() - begin_s, options.keep)


def _summary(results: list[Result], seconds: float, keep: Path) -> int:
    answers: Counter[str] = sum((result.statuses for result in results), Counter())
    faults = Counter(fault.what for result in results for fault in result.faults)
    bad = [result.seed for result in results if result.violations]
    print(
        f"{len(results)} rounds in {seconds:.0f} s ({3600 * len(results) / seconds:.0f} an hour): "
        f"{sum(r.jobs for r in results)} jobs, {answers.total()} answers ({dict(sorted(answers.items()))}), "
        f"{sum(r.events for r in results)} events, {sum(r.void for r in results)} void; "
        f"faults {dict(sorted(faults.items()))}, {sum(r.deaths for r in results)} deaths at failpoints; "
        f"at rest at most {max(r.rest_s for r in results):.1f} s after healing; "
        + (f"VIOLATIONS in {bad}, evidence in {keep}" if bad else "no violation")
    )
    return 1 if bad else 0


def _judge(path: Path) -> int:
    history = read_calls(path.with_name(path.name + ".history.jsonl"))
    records = read_records(path.with_name(path.name + ".log.jsonl"))
    violations = judge(history, records, PARTITIONS)
    for violation in violations:
        print(violation)
    print(f"{len(history)} answers, {len(records)} records, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
