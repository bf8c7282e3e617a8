"""Query strings: no call of the command API takes one."""

from flask import request

from darkroom.runtime.http.fields import invalid


def refuse_query() -> None:
    """Raises ProblemError (invalid-request) if there are parameters: what is not understood is not ignored, and a
    credential does not belong there. Names are told, values never."""
    if request.args:
        raise invalid([(f"?{name}", "Unknown parameter.") for name in request.args])
