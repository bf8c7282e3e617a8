"""Is everything there that the stack needs on this machine?"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from darkroom.cli.checks.finding import Finding, broken, good, lacking
from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.jars import damaged_jars, jars_folder, listed_jars
from darkroom.cli.stack.java import java_command
from darkroom.cli.stack.mongod import find_mongod
from darkroom.cli.stack.places import data_folder

_SETUP = "run `make setup`"
_RUN_TIMEOUT_S = 20
_FREE_SIZE_BYTES_MIN = 2 * 10**9
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_MEMBERS = ("schemas", "runtime", "command_api", "query_api", "projector", "executor", "simulator", "cli")


def python() -> Finding:
    # An older one cannot even load this program; the set-up refuses it by name.
    return good("Python", f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}")


def packages() -> Finding:
    """All members are importable, and what is installed is what requirements.lock says."""
    absent = [name for name in _MEMBERS if find_spec(f"darkroom.{name}") is None]
    if absent:
        return broken("packages", f"missing: {', '.join(absent)}", _SETUP)
    lock = next(
        (p / "requirements.lock" for p in Path(__file__).parents if (p / "requirements.lock").exists()), None
    )
    if lock is None:
        return good("packages", "all members are installed (no lock file here to compare with)")
    pins: dict[str, list[str]] = {}  # several versions of one package: for several Pythons
    for name, pin in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock.read_text("utf-8"), re.MULTILINE):
        pins.setdefault(name, []).append(pin)
    found = {name: _installed(name) for name in pins}
    others = [f"{name} {found[name]}" for name in pins if found[name] and found[name] not in pins[name]]
    if others:
        return lacking("packages", f"not as locked: {', '.join(others[:5])}", _SETUP)
    return good("packages", f"as locked ({len(pins)} of them)")


def java() -> Finding:
    try:
        command = java_command()
    except StackError as error:
        return broken("Java runtime", str(error), _SETUP)
    code, text = _run([command, "-version"])
    if code:
        return broken("Java runtime", f"{command}: {text}", _SETUP)
    return good("Java runtime", f"{text.splitlines()[0]} at {command}")


def jars() -> Finding:
    folder, wanted = jars_folder(), listed_jars()
    bad = damaged_jars(folder, wanted)
    if bad:
        return broken(
            "Kafka's jars",
            f"{len(bad)} of {len(wanted)} missing or damaged in {folder}",
            "run `darkroom fetch`",
        )
    return good("Kafka's jars", f"{len(wanted)}, all checksums right, in {folder}")


def mongod() -> Finding:
    own = os.environ.get("DARKROOM_MONGODB")
    try:
        binary = find_mongod()
    except StackError as error:
        return good("mongod", f"none here; yours is used: {own}") if own else broken("mongod", str(error), _SETUP)
    code, text = _run([binary, "--version"])
    if code == 0:
        return good("mongod", f"{text.splitlines()[0]} at {binary}")
    libraries = [line.split()[0] for line in _run(["ldd", binary])[1].splitlines() if "not found" in line]
    if libraries:
        return broken("mongod", f"libraries missing: {', '.join(libraries)}", as_root("apt-get install libcurl4"))
    return broken("mongod", f"{binary} does not run: {text}", _SETUP)


def chromium() -> Finding:
    found = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        mend = as_root("apt-get install chromium")
        return lacking("Chromium", "not found: the tests of the pages will fail without it", mend)
    try:
        ctypes.CDLL("libatomic.so.1")
    except OSError:
        mend = as_root("apt-get install libatomic1")
        return lacking("Chromium", f"{found}, but Playwright's driver lacks libatomic.so.1", mend)
    return good("Chromium", found)


def folder() -> Finding:
    path = data_folder()
    existing = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return broken("data folder", f"{path} cannot be written", "give another with --data or XDG_DATA_HOME")
    if free < _FREE_SIZE_BYTES_MIN:
        return lacking(
            "data folder", f"{path}: only {free / 1e9:.1f} GB free", "make room, or give another with --data"
        )
    return good("data folder", f"{path}, {free / 1e9:.0f} GB free")


def as_root(command: str) -> str:
    """How to run something as root here."""
    return f"run `{command}`" if os.geteuid() == 0 else f"run `sudo {command}`"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _run(command: list[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()
