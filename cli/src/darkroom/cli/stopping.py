"""A command that is stopped by SIGTERM tidies up as it does after Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt within; a second one does not disturb what the first one began. Only in the
    main thread."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
