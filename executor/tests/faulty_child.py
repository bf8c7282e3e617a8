"""A child whose "model" does what its file says; run as a script by the tests in place of the real child."""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkroom.executor.child import serve
from darkroom.executor.problems import ModelError, model_invalid
from darkroom.executor.tensors import Array, InputTensor, RawTensor


class FaultyModel:
    """``<fault> <path of a FIFO>``: says on the FIFO that it runs, then does it."""

    input = InputTensor("uint8", (1, 2, 2, 3), None)

    def __init__(self, content: bytes) -> None:
        self._fault, _, self._fifo = content.decode().partition(" ")

    def invoke(self, tensor: Array) -> Sequence[RawTensor]:
        if self._fifo:
            Path(self._fifo).write_bytes(f"{os.getpid()}\n".encode())
        match self._fault:
            case "segfault":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "exit":
                os._exit(3)
            case "raise":
                raise ZeroDivisionError("a bug in the runtime")
            case "memory":
                raise MemoryError("no more")
            case "loop":
                while True:
                    pass
            case "hang-with-gil":
                ctypes.PyDLL(None).pause()  # not even another thread of this process gets to run
            case "ignore-signals":
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                ctypes.CDLL(None).pause()
            case "rubbish":
                for descriptor in (1, 2):
                    os.write(descriptor, b'\x00\xff{"results": []}' * 100_000)
            case "nonsense":
                os.write(_protocol_socket(), b"\x00\x00\x00\x04nope")
            case "huge-answer":
                os.write(_protocol_socket(), b"\xff\xff\xff\xff")
            case "refuse":
                raise ModelError(model_invalid("it will never do"))
            case "nan":
                return [RawTensor("scores", np.array([[0.5, np.nan]], np.float32))]
        return [RawTensor("scores", np.array([[0.25, 0.75]], np.float32))]


class FaultyRuntime:
    name = "litert"
    models_max = 2

    def __init__(self, threads: int) -> None:
        pass

    def load(self, content: bytes, scratch: Path) -> FaultyModel:
        if content == b"crash-on-load":
            os.abort()
        return FaultyModel(content)

    def versions(self) -> dict[str, str]:
        return {"faulty": "1"}


def _protocol_socket() -> int:
    return int(sys.argv[sys.argv.index("--socket") + 1])


if __name__ == "__main__":
    serve(FaultyRuntime, sys.argv[1:])
