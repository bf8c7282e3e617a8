"""Read model `history`: the raw events of a job, void ones too, in chunks that are only appended to."""

import orjson

from darkroom.projector.projections.step import Document, Step
from darkroom.schemas.views import HISTORY_CHUNK_EVENTS, HISTORY_CHUNK_SIZE_BYTES_MAX
from darkroom.schemas.wire import is_structured


def turn_page(page: Document, size_bytes: int) -> None:
    """Finds room for the next event of `size_bytes`: `page` is the chunk in use, its events and their bytes."""
    events, used_bytes = page["events"], page["size_bytes"]
    if events >= HISTORY_CHUNK_EVENTS or (events and used_bytes + size_bytes > HISTORY_CHUNK_SIZE_BYTES_MAX):
        page["chunk"] += 1
        events = used_bytes = 0
    page["events"] = events + 1
    page["size_bytes"] = used_bytes + size_bytes


class History:
    """What a batch changes in `history`. `opened`: new chunks, whole; `appended`: entries for older chunks."""

    def __init__(self) -> None:
        self.opened: dict[str, Document] = {}
        self.appended: dict[str, list[Document]] = {}

    def see(self, step: Step) -> None:
        """Takes in the next step of the partition; what is quarantined has no place here."""
        job, envelope, record = step.after, step.envelope, step.record
        if job is None or envelope is None:
            return
        offset, page = record.offset, job["history"]
        id = f"{job['_id']}:{page['chunk']}"
        entry = {
            "offset": offset,
            "void": not step.accepted,
            "type": envelope.guard.type,
            "status": job["status"],
            "event": _raw(step),
        }
        if page["events"] == 1:
            self.opened[id] = {
                "_id": id,
                "job": job["_id"],
                "tenant": job["tenant"],
                "partition": record.partition,
                "chunk": page["chunk"],
                "first": offset,
                "last": offset,
                "entries": [entry],
            }
        elif (chunk := self.opened.get(id)) is not None:
            chunk["entries"].append(entry)
            chunk["last"] = offset
        else:
            self.appended.setdefault(id, []).append(entry)


def _raw(step: Step) -> str:
    value, envelope = step.record.value, step.envelope
    assert value is not None
    assert envelope is not None
    if is_structured(step.record.headers):
        return value.decode()
    # binary mode: the structured form of the same event, with its data as they stand there
    return f'{orjson.dumps(envelope.attributes).decode()[:-1]},"data":{value.decode()}}}'
