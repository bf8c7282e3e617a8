"""The parent's handle on one child process in which models run: a run at a time, to one of the outcomes."""

import os
import sys
from typing import Any

from darkroom.executor.outcomes import (
    Crashed,
    DeadlineExceeded,
    ModelRefused,
    Outcome,
    RunRequest,
    Stopped,
    Succeeded,
)
from darkroom.executor.preprocess import PIXELS_MAX
from darkroom.runtime.child import asked
from darkroom.schemas.job import Problem


class ChildProcess(asked.AskedChild):
    """One child, started when first needed, and again after it ended. One run at a time; any thread may stop it."""

    def run(self, request: RunRequest, deadline_s: float) -> Outcome:
        """Run it to one of the outcomes. The deadline counts from when the child is ready (an import of TensorFlow
        is nobody's run); loading the model is part of the run. Whatever happens, no child is left behind busy."""
        message = {
            "model": dict(request.model),
            "artifact_path": os.path.abspath(request.artifact_path),
            "labels_path": os.path.abspath(request.labels_path),
            "parameters": dict(request.parameters),
            "digests": [picture.digest for picture in request.pictures],
        }
        pictures = [picture.data for picture in request.pictures]
        try:
            return self.ask(request.key, message, pictures, deadline_s, _outcome)
        except asked.Stopped:
            return Stopped()
        except asked.Ended as ended:
            return Crashed(ended.detail, ended.exit_signal)
        except TimeoutError:
            return DeadlineExceeded(deadline_s)


def _outcome(answer: dict[str, Any]) -> Outcome:
    if "refused" in answer:
        return ModelRefused(Problem(**answer["refused"]))
    return Succeeded(tuple(answer["results"]), answer["timing"], answer["provenance"])


def child_command(runtime: str, threads: int = 1, pixels_max: int = PIXELS_MAX) -> list[str]:
    """The command line of a child for a runtime (-P: the folder it starts in is no place to import from)."""
    module = [sys.executable, "-P", "-m", "darkroom.executor.child", runtime]
    return [*module, "--threads", str(threads), "--pixels-max", str(pixels_max)]
