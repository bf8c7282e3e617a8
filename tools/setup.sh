#!/usr/bin/env bash
# Makes .venv and everything the stack needs, from a Python >= 3.11 alone. Run by `make setup`; may be run again.
set -euo pipefail
cd "$(dirname "$0")/.."

MEMBERS=(schemas runtime command-api query-api projector executor simulator cli)
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/darkroom"
APT_TIMEOUT_S=600

step() { printf '\n== %s\n' "$*"; }

# (a) A Python. TensorFlow's wheels end at 3.13, so a newer one is only asked to install uv, which finds another.
usable() { command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(not (sys.version_info >= (3, 11)))' 2>/dev/null; }
python=""
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
    if usable "$candidate"; then python="$candidate"; break; fi
done
if [ -z "$python" ]; then
    echo "No Python >= 3.11 on the PATH. Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
fi
step "Python: $("$python" --version) ($(command -v "$python"))"

# (g) What needs root, in the background while packages are fetched. Nothing here stops the set-up: `darkroom doctor`
# names what is missing, and how to have it.
has_library() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }
has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
wanted=()
if [ "$(uname -s)" = Linux ]; then
    has_library libcurl.so.4 || wanted+=(libcurl4)      # mongod
    has_chromium || wanted+=(chromium)                  # tests of the pages
    has_library libatomic.so.1 || wanted+=(libatomic1)  # Playwright's driver, likewise
fi
apt_log="" apt_pid=""
if [ ${#wanted[@]} -gt 0 ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if command -v apt-get >/dev/null && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
        step "System packages: installing ${wanted[*]} with apt-get, in the background"
        apt_log="$(mktemp)"
        (
            export DEBIAN_FRONTEND=noninteractive
            $sudo timeout $APT_TIMEOUT_S sh -c "apt-get -o DPkg::Lock::Timeout=120 -q update &&
                apt-get -o DPkg::Lock::Timeout=120 -q install -y --no-install-recommends ${wanted[*]}"
        ) >"$apt_log" 2>&1 </dev/null &
        apt_pid=$!
    else
        step "System packages: ${wanted[*]} missing. As root, run: apt-get install ${wanted[*]}"
    fi
fi

# (b) uv: the one on the PATH, else one of our own, its checksum checked.
uv="$(command -v uv || true)"
if [ -z "$uv" ] || ! "$uv" --version >/dev/null 2>&1; then
    uv="$CACHE/uv/bin/uv"
    if ! "$uv" --version >/dev/null 2>&1; then
        step "uv: installing it into $CACHE/uv"
        mkdir -p "$CACHE"
        rm -rf "$CACHE/uv"
        locked=(install --quiet --require-hashes --only-binary :all: -r tools/uv.lock.txt)
        # Some distributions ship Python without venv; pip alone will do.
        if "$python" -m venv "$CACHE/uv" >/dev/null 2>&1; then "$CACHE/uv/bin/python" -m pip "${locked[@]}"
        elif "$python" -m pip --version >/dev/null 2>&1; then "$python" -m pip "${locked[@]}" --target "$CACHE/uv"
        else
            echo "This Python has neither venv nor pip. As root, run: apt-get install python3-venv" >&2
            exit 1
        fi
    fi
fi
step "uv: $("$uv" --version) ($uv)"

# (c) The environment: what requirements.lock says and nothing else, every file checked by its hash; then our own
# members on top, built by the backend that was locked with the rest.
supported() { "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' 2>/dev/null; }
if ! [ -x .venv/bin/python ] || ! supported .venv/bin/python; then
    if supported "$python"; then "$uv" venv --quiet --clear --python "$python" .venv
    else "$uv" venv --clear --python '>=3.11,<3.14' .venv; fi
fi
step "Python packages: $(grep -c '^[a-zA-Z]' requirements.lock) from requirements.lock, into .venv (about 2 GB with TensorFlow)"
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"
"$uv" pip sync --python .venv/bin/python --require-hashes requirements.lock
editable=()
for member in "${MEMBERS[@]}"; do editable+=(-e "./$member"); done
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation "${editable[@]}"

if [ -n "$apt_pid" ]; then
    step "System packages: waiting for apt-get"
    if wait "$apt_pid"; then echo "installed ${wanted[*]}"
    else
        tail -n 5 "$apt_log"
        echo "apt-get failed; as root, run: apt-get install ${wanted[*]}"
    fi
    rm -f "$apt_log"
fi

# (d) Kafka's jars, (e) the Java runtime, (f) mongod.
step "Kafka, Java, MongoDB"
.venv/bin/darkroom fetch

step "Set up. Next: make demo, make test, or .venv/bin/darkroom --help"
