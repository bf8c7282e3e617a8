"""Calls something from N threads, each again as soon as it returns."""

import threading
from collections.abc import Callable
from time import perf_counter, process_time

from command_path.measured import Measured

_WARM_UP_S = 0.7


def from_threads(call: Callable[[], object], threads: int, seconds: float) -> Measured:
    """What `threads` threads achieved in `seconds`, after a short while that is not counted."""
    _for_a_while(call, threads, _WARM_UP_S)
    begun, cpu_begun = perf_counter(), process_time()
    latencies_s = _for_a_while(call, threads, seconds)
    return Measured.of(latencies_s, perf_counter() - begun, process_time() - cpu_begun)


def _for_a_while(call: Callable[[], object], threads: int, seconds: float) -> list[float]:
    until = perf_counter() + seconds
    latencies_s: list[float] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            before = perf_counter()
            while before < until:
                call()
                after = perf_counter()
                latencies_s.append(after - before)  # one list for all: append is atomic
                before = after
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]
    return latencies_s
