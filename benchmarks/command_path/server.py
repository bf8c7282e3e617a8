"""The doors under load, each a process of its own on the product's server, or on another one.

    python -m command_path.server DOOR [granian]

    full      the command API as shipped
    report    answers at the log's acknowledgement: all else is as shipped, the own tail too
    no-kafka  answers at once: the HTTP layer alone
    celery    the same HTTP layer, with Celery's `.delay()` in place of the log
    flask     a small Flask app that hands the JSON body to `.delay()`, as one would write it in an afternoon

Settings come from the environment, as for the product.
"""

import logging
import os
import sys
from concurrent.futures import Future
from typing import Any

from flask import Flask, request

from darkroom.command_api import __main__ as command_api
from darkroom.runtime.eventlog.port import Ack
from darkroom.runtime.http.server import serve
from darkroom.runtime.ids import new_id
from darkroom.runtime.pending import Pending
from darkroom.runtime.protocol import Accepted, Append, Verdict
from darkroom.runtime.settings import read_settings
from darkroom.runtime.telemetry import configure_logging
from darkroom.runtime.writer import JobWriter
from darkroom.schemas.chain import Guard
from darkroom.schemas.job import Outcome, Status
from darkroom.schemas.wire import Context, encode


def _outcome(guard: Guard, offset: int) -> Outcome:
    """What the fold would have said of a create."""
    return Outcome(guard.command_id, guard.request_hash, offset, guard.version, Status.QUEUED, guard.run)


class ReportOnly(JobWriter):
    """Believes every acknowledgement, which is wrong, and waits for nothing else."""

    def _append(self, partition: int, step: Append, context: Context, deadline: float) -> Verdict | None:
        key, value, headers = encode(step.guard, step.event, context)
        pending = Pending()

        def acknowledged(future: "Future[Ack]") -> None:
            if future.exception() is None and (offset := future.result().offset) is not None:
                outcome = _outcome(step.guard, offset)
                pending.judged(Verdict(partition, offset, step.guard.event_id, True, outcome))
            pending.acknowledged(future)

        self._log.append(partition, key, value, headers).add_done_callback(acknowledged)
        return pending.wait(deadline)[1]


class NoLog(JobWriter):
    """Accepts at once."""

    def execute(
        self, job_id: str, command: Any, identity: Any, context: Any, deadline: float, **new: bool
    ) -> Accepted:
        outcome = Outcome(identity.command_id, identity.request_hash, 0, 1, Status.QUEUED, 1)
        return Accepted(self._log.topic_id, 0, 0, outcome)


class ToCelery(NoLog):
    """Hands the command to Celery, and accepts it then."""

    def execute(
        self, job_id: str, command: Any, identity: Any, context: Any, deadline: float, **new: bool
    ) -> Accepted:
        from command_path.tasks import infer

        spec = command.spec
        infer.delay(
            {
                "id": job_id,
                "model": spec.model.name,
                "inputs": [{"media": item.digest} for item in spec.inputs],
                "parameters": dict(spec.parameters),
            }
        )
        return super().execute(job_id, command, identity, context, deadline, **new)


_WRITERS = {"full": JobWriter, "report": ReportOnly, "no-kafka": NoLog, "celery": ToCelery}


def small_flask() -> Flask:
    """Flask and Celery without anything else: no schema, no ids of requests, no log lines, no metrics."""
    from command_path.tasks import infer

    app = Flask("small")
    app.extensions.update({"darkroom.closers": [], "darkroom.failures": []})  # what our server asks an app for

    @app.post("/api/v1/inference/jobs")
    def create() -> tuple[dict[str, str], int]:
        body = request.get_json()
        job_id = new_id()
        infer.delay({"id": job_id, **body})
        return {"id": job_id}, 202

    @app.get("/health/ready")
    def ready() -> str:
        return "ready"

    return app


def door(name: str) -> Flask:
    """The app of a door, for another server than the product's. Call it in the process that serves."""
    if name == "flask":
        return small_flask()
    _choose(name)
    return command_api.build(read_settings())


def made_for_granian() -> Flask:
    """The app, made in granian's worker, which `serve_on_granian` has told the door's name by its environment."""
    from command_path.on_granian import DOOR

    configure_logging(read_settings().log, "command-api")
    return door(os.environ[DOOR])


def _choose(name: str) -> None:
    vars(command_api)["JobWriter"] = _WRITERS[name]  # the one thing in which the doors differ


def main() -> None:
    name, *server = sys.argv[1:]
    logging.getLogger("kombu").setLevel(logging.WARNING)
    if server == ["granian"]:
        from command_path.on_granian import serve_on_granian

        serve_on_granian(name, read_settings())
    elif name == "flask":
        settings = read_settings()
        configure_logging(settings.log, "small")
        serve(small_flask, settings.bind, settings.command_port, settings.http_threads, settings.start_timeout_s)
    else:
        _choose(name)
        command_api.main()


if __name__ == "__main__":
    main()
