"""`darkroom up` with stub services: arguments are the options of `darkroom up`; STUBS maps service to behaviour."""

import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

from darkroom.cli.main import app
from darkroom.cli.stack import services

STUB = str(Path(__file__).with_name("stub_service.py"))


def main() -> None:
    behaviours = json.loads(os.environ.get("STUBS", "{}"))
    stubs = {kind: (sys.executable, "-S", STUB, behaviours.get(kind, "well")) for kind in services.COMMANDS}
    with patch.dict(services.COMMANDS, stubs):
        app(["up", *sys.argv[1:]])


if __name__ == "__main__":
    main()
