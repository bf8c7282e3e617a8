"""`Prefer: wait=N` (RFC 7240)."""

import re

from flask import request
from werkzeug.http import parse_list_header

WAIT_S_MAX = 60
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.ASCII | re.IGNORECASE)


def wait_preferred() -> int:
    """Seconds that the request would wait, at most 60; 0 for none. As the RFC asks, what is not understood is
    ignored, and of several the first counts."""
    for header in request.headers.getlist("Prefer"):
        for preference in parse_list_header(header):
            if found := _WAIT.fullmatch(preference.split(";", 1)[0].strip()):
                return min(int(found[1]), WAIT_S_MAX)
    return 0
