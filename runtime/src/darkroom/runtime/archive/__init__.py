"""An archive of the log: its topics of truth in files, from which the very same log can be made again.

A folder with a `manifest.json` and, per topic and partition, segments: gzip files of JSON lines, one record a
line, which anything that reads gzip and JSON can read without Darkroom. Nothing here knows a broker: it needs the
EventLog port and a folder.

    manifest.json              what belongs to the archive, with checksums; replaced as a whole (manifest.py)
    jobs/p3/<first>-<next>.jsonl.gz    records from offset `first` to before `next` (segment.py, record.py)
    blobs.jsonl                the blobs that the log names (blobs.py)
"""
