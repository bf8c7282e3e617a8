"""How much of the log can have stood there when a request was made, and when it was answered.

A record was in a partition before time t if somebody had seen it by then: a reader that followed the log, or a
client whose 202 named it. So was everything in front of it. A record whose own time stamp lies after t was appended
after t, and so was everything behind it: time stamps are set by the producer's process on this very machine when it
hands the record over, and offsets only grow. (Stamps have whole milliseconds, rounded down; a stamp counts as later
only if it is later in whole milliseconds too.)
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from campaign.history import LogRecord


class Bounds:
    """Bounds on the length of each partition at a moment."""

    def __init__(self, records: Iterable[LogRecord], told: Iterable[tuple[float, int, int]]) -> None:
        """`told`: (seconds, partition, offset) of each record that an answer named, and when it did."""
        seen: dict[int, list[tuple[float, int]]] = defaultdict(list)
        stamps: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for record in records:
            if record.seen_s is not None:
                seen[record.partition].append((record.seen_s, record.offset + 1))
            stamps[record.partition].append((record.offset, record.timestamp_ms))
        for moment_s, partition, offset in told:
            seen[partition].append((moment_s, offset + 1))
        self._least = {partition: _rising(sorted(pairs)) for partition, pairs in seen.items()}
        self._latest = {partition: _latest(sorted(pairs)) for partition, pairs in stamps.items()}

    def at_least(self, partition: int, moment_s: float) -> int:
        """So many records were there before the moment (monotonic clock), if not more."""
        moments, lengths = self._least.get(partition, ([], []))
        found = bisect_left(moments, moment_s)
        return lengths[found - 1] if found else 0

    def at_most(self, partition: int, moment_wall_ms: int) -> int:
        """No more than so many records were there at the moment (milliseconds since 1970)."""
        offsets, stamps = self._latest.get(partition, ([], []))
        found = bisect_right(stamps, moment_wall_ms)
        return offsets[found] if found < len(offsets) else (offsets[-1] + 1 if offsets else 0)


def _rising(pairs: Sequence[tuple[float, int]]) -> tuple[list[float], list[int]]:
    """Both columns; the second as the greatest so far."""
    firsts: list[float] = []
    greatest: list[int] = []
    for first, second in pairs:
        firsts.append(first)
        greatest.append(max(second, greatest[-1]) if greatest else second)
    return firsts, greatest


def _latest(pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    offsets, stamps = _rising(pairs)
    return [int(offset) for offset in offsets], stamps
