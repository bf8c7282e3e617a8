"""A PostgreSQL with its own defaults, if there is one on the PATH."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import HOST, Running, process, wait

from darkroom.cli.stack.ports import free_port

_UNPRIVILEGED = "nobody"
_INITDB_TIMEOUT_S = 120.0


@contextmanager
def postgres(log: Path) -> Iterator[Running | None]:
    """With empty data, for the user "bench", whom it trusts. None where there is none to start."""
    program = shutil.which("postgres")
    if program is None:
        yield None
        return
    programs = Path(program).resolve().parent
    as_root = os.geteuid() == 0  # whom PostgreSQL refuses to serve
    with TemporaryDirectory(prefix="darkroom-bench-postgres-") as folder:
        if as_root:
            shutil.chown(folder, _UNPRIVILEGED)
        prefix = ["setpriv", f"--reuid={_UNPRIVILEGED}", "--clear-groups"] if as_root else []
        data = f"{folder}/data"
        subprocess.run(
            [*prefix, str(programs / "initdb"), "--pgdata", data, "--username", "bench", "--auth", "trust"],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_INITDB_TIMEOUT_S,
        )
        port = free_port()
        options = ["-D", data, "-p", str(port), "-h", HOST, "-k", folder]
        with process([*prefix, str(programs / "postgres"), *options], log, dict(os.environ)) as pid:
            ready = [str(programs / "pg_isready"), "-q", "-h", HOST, "-p", str(port)]
            wait(pid, lambda: subprocess.run(ready, timeout=10).returncode == 0, log)
            yield Running(pid, port)
