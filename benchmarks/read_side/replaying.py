"""One whole replay: folded, compared with the live generation, switched to; then the former generation is dropped.

    DARKROOM_…=… python -m read_side.replaying READ_MODELS WORKERS

Tells when everything was folded, inserted and compared; `switched_s` is the time until readers read it. With one
worker, which is this process: `rss_mb`, its resident memory at its highest less that before.
"""

import gc
import sys
from pathlib import Path
from time import monotonic

from darkroom.projector.replay import Effort, Mode, replay
from darkroom.projector.replaying.crew import Address
from darkroom.projector.store import Store
from darkroom.projector.store_generations import prune
from darkroom.projector.store_lease import Lease
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.settings import read_settings
from read_side.families import family
from read_side.figures import Share, own_cpu_s, resident_mb


def main() -> None:
    settings, wanted, workers = read_settings(), family(sys.argv[1]), int(sys.argv[2])
    log = KafkaLog(settings.kafka, settings.topic_jobs)
    store = Store(settings.mongodb, settings.mongodb_database)
    gc.freeze()
    gc.set_threshold(50_000)  # as the command's worker processes do
    address = Address(settings.kafka, settings.mongodb, settings.mongodb_database)
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size begins anew
    rss_mb, begun, cpu_s = resident_mb("VmRSS"), monotonic(), own_cpu_s()
    report = replay(
        store,
        log,
        settings.topic_jobs,
        wanted,
        Mode.SWITCH,
        lambda moment: None,
        lambda line: print(line, file=sys.stderr),
        Effort(workers=workers, address=address),
    )
    ended, cpu_s, rss_mb = monotonic(), own_cpu_s() - cpu_s, resident_mb("VmHWM") - rss_mb
    if not report.switched:
        raise SystemExit(f"the replay differs from what stands there: {report.comparisons}")
    documents = store.database[f"jobs_g{report.generation}"].estimated_document_count()
    with Lease(store, wanted, lambda line: print(line, file=sys.stderr)):
        prune(store, wanted)
    store.close()
    log.close(1.0)
    more = {"switched_s": ended - begun, "jobs": documents, "processes": report.processes}
    if not report.processes:
        more["rss_mb"] = rss_mb
    Share(begun, begun + report.took_s, cpu_s, report.events, more).tell()


if __name__ == "__main__":
    main()
