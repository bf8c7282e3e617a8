"""Makes a database as a live projector would have left it at the end of a topic, quicker than one can: folded in
memory, inserted as generation 1, checkpoints at the end.

    DARKROOM_…=… python -m read_side.settling READ_MODELS
"""

import sys

from darkroom.projector.ends import end_offsets
from darkroom.projector.replaying.crew import Address, Crew, Effort, Target
from darkroom.projector.store import Store
from darkroom.projector.store_generations import ensure
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.settings import read_settings
from read_side.families import family

_TIMEOUT_S = 900.0


def main() -> None:
    settings, wanted = read_settings(), family(sys.argv[1])
    topic, database = settings.topic_jobs, settings.mongodb_database
    log, store = KafkaLog(settings.kafka, topic), Store(settings.mongodb, database)
    try:
        ensure(store, wanted, topic, log.topic_id, log.partitions)
        ends = end_offsets(log, 10.0)
        effort = Effort(address=Address(settings.kafka, settings.mongodb, database))
        with Crew(log, topic, wanted, ends, effort) as crew:
            crew.start(Target(store, 1))
            assert crew.wait(_TIMEOUT_S), f"not folded within {_TIMEOUT_S:g} s"
        for partition, end in ends.items():
            store.checkpoints.update_many({"partition": partition}, {"$set": {"next": end}})
    finally:
        store.close()
        log.close(1.0)


if __name__ == "__main__":
    main()
