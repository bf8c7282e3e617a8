"""One spawned child process: started, watched and reaped by a thread of its own."""

import contextlib
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

_OUTPUT_BYTES_KEPT = 2048
_EXIT_WAIT_S = 10.0
# What a child sees of the environment: enough to run Python, and none of the service's secrets.
_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHASHSEED"),
    "TMPDIR",  # a child with a scratch folder gets that one
)


class Spawned:
    """A running child with a socket to it. Its stdout and stderr are drained; the last of them is kept.

    It is told its end of the socket and whose child it is by ``--socket`` and ``--parent`` (see ``inside``).

    The child asks the kernel to die with its parent, and the kernel means the *thread* that started it: hence the
    thread here, which starts the child and lives until it has ended, whoever asked for it.
    """

    def __init__(self, command: Sequence[str], scratch_folder: Path | None) -> None:
        """Start it, in an empty folder of its own under ``scratch_folder``; None for a child that writes no files.
        Raises OSError."""
        self._command = list(command)
        self._scratch = (
            None if scratch_folder is None else Path(tempfile.mkdtemp(prefix="child-", dir=scratch_folder))
        )
        self.socket, self._theirs = socket.socketpair()
        for side in (self.socket, self._theirs):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None
        self._started, self._ended = threading.Event(), threading.Event()
        self._output = b""
        threading.Thread(target=self._keep, name="child-keeper", daemon=True).start()
        if not self._started.wait(_EXIT_WAIT_S) or self._error:
            self.socket.close()
            raise self._error or OSError("the child process could not be started in time")

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def alive(self) -> bool:
        return not self._ended.is_set() and self._running.poll() is None

    def kill(self) -> None:
        """SIGKILL; harmless on a child that has ended."""
        self._running.kill()

    def reap(self) -> int:
        """Wait for the end (at most 10 s, then SIGKILL), close the socket; gives subprocess's return code."""
        if not self._ended.wait(_EXIT_WAIT_S):
            self.kill()
            self._ended.wait(_EXIT_WAIT_S)
        self.socket.close()
        code = self._running.returncode
        return -9 if code is None else code

    def last_words(self) -> str:
        """The end of what it wrote to stdout and stderr."""
        return self._output.decode(errors="replace").strip()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "set before the constructor returns"
        return self._process

    def _keep(self) -> None:
        try:
            process = subprocess.Popen(
                [*self._command, "--socket", str(self._theirs.fileno()), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                cwd=self._scratch or "/",
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
                | ({"TMPDIR": str(self._scratch)} if self._scratch else {}),
                pass_fds=[self._theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its children in order
            )
        except OSError as error:
            self._error = error
            self._tidy()
            self._started.set()
            return
        finally:
            self._theirs.close()
        self._process = process
        self._started.set()
        try:
            self._drain(process)
        finally:
            process.wait()
            self._tidy()
            self._ended.set()

    def _tidy(self) -> None:
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _drain(self, process: "subprocess.Popen[bytes]") -> None:
        """Read its output until it ends. (Its end, not the end of the output: a grandchild may hold that open.)"""
        assert process.stdout is not None
        output, ended = process.stdout.fileno(), os.pidfd_open(process.pid)
        os.set_blocking(output, False)
        poller = select.poll()
        poller.register(output, select.POLLIN)
        poller.register(ended, select.POLLIN)
        try:
            while ended not in (ready := dict(poller.poll())):
                if output in ready and not self._read(output):
                    poller.unregister(output)
            self._read(output)
        finally:
            os.close(ended)
            process.stdout.close()

    def _read(self, output: int) -> bool:
        """Keep the last of what is there; False at the end of the stream."""
        with contextlib.suppress(BlockingIOError):
            content = os.read(output, 65536)
            self._output = (self._output + content)[-_OUTPUT_BYTES_KEPT:]
            return bool(content)
        return True
