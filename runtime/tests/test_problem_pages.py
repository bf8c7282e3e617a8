"""Every problem type that some source names has a page."""

import re
from pathlib import Path

from darkroom.runtime.http.problems import PROBLEMS

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(
    r"""urn:darkroom:problem:([a-z0-9-]+)        # spelled out
    |\bPREFIX\s*\+\s*["']([a-z0-9-]+)            # as the executor does
    |\b(?:ProblemError|BadMedia)\(\s*["']([a-z0-9-]+)   # as the HTTP services do
    """,
    re.VERBOSE,
)


def test_every_problem_of_every_member_has_a_page():
    found: dict[str, str] = {}
    for path in ROOT.glob("*/src/**/*"):
        if path.suffix in (".py", ".js", ".html", ".json"):
            for match in _NAMED.finditer(path.read_text()):
                found[next(filter(None, match.groups()))] = str(path.relative_to(ROOT))
    # One of each spelling, from three members: the search looks where it should.
    assert {"executor-lost", "model-digest-mismatch", "unknown-media", "attempts-exhausted"} <= found.keys()
    assert {name: path for name, path in found.items() if name not in PROBLEMS} == {}
