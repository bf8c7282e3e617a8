"""What a replay holds in memory of one partition: the resident memory that its documents take when all is folded.

    DARKROOM_…=… python -m read_side.holding READ_MODELS PARTITION STOP

The records are read before and kept, so that nothing else grows. `held_mb`: by how much the process has grown;
`documents_mb`: the length of the documents as BSON.
"""

import gc
import sys

from darkroom.projector.batches import by_partition
from darkroom.projector.reading import stretch
from darkroom.projector.shelf import Shelf
from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.settings import read_settings
from read_side.families import family
from read_side.figures import Watch, resident_mb


def main() -> None:
    settings, wanted, partition, stop = read_settings(), family(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    log = KafkaLog(settings.kafka, settings.topic_jobs)
    records = [record for batch in stretch(log, partition, 0, stop) for record in batch]
    partitions = log.partitions
    log.close(1.0)
    gc.collect()
    before_mb, watch = resident_mb("VmRSS"), Watch()
    with Shelf() as shelf:
        for _, batch in by_partition(records):
            shelf.take(wanted.fold(settings.topic_jobs, partitions, batch, shelf.load))
        gc.collect()
        grown_mb = resident_mb("VmRSS") - before_mb
        size_bytes = jobs = 0
        for read_model in wanted.read_models:
            for _, document in shelf.encoded(read_model):
                size_bytes += len(document)
                jobs += read_model == "jobs"
    watch.share(len(records), jobs=jobs, held_mb=grown_mb, documents_mb=size_bytes / 2**20).tell()


if __name__ == "__main__":
    main()
