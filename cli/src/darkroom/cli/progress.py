"""How far a download is: a moving line on a terminal, a line per quarter elsewhere."""

import sys

from darkroom.cli.stack.jars import Progress

_MB = 1_000_000


def fetching(what: str) -> Progress:
    """Prints the progress of fetching `what`; nothing if there was nothing to fetch."""
    said = -1

    def show(done: int, total: int) -> None:
        nonlocal said
        text = f"fetching {what}: {done / _MB:.0f} of {total / _MB:.0f} MB"
        if sys.stdout.isatty():
            sys.stdout.write(f"\r{text}" + ("\n" if done == total else ""))
            sys.stdout.flush()
        elif (quarter := done * 4 // max(total, 1)) > said:
            said = quarter
            print(text, flush=True)

    return show
