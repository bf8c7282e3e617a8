"""The loop: generate, send, judge, learn."""

from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from requests import Response
from schemathesis import Case

from .judging import different, json_of, violations
from .known import Known
from .making import Asked, requests_of
from .reporting import Report
from .sending import Sender, curl
from .targets import Target


def fuzz(target: Target, known: Known, sender: Sender, examples: int, seed: int, variants: int = 1) -> Report:
    """Sends each of `examples` generated requests, and twice `variants` others made from it.

    The same seed on the same service with the same `known` makes the same requests. Nothing is raised for a
    violation, so nothing is shrunk: it is reported."""
    report = Report()

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=target.cases(), number=st.integers(0, 2**32 - 1))
    def send(case: Case, number: int) -> None:
        for asked in requests_of(target, case, known, Random(number), variants):
            _ask(target, asked, known, sender, report)

    send()
    return report


def _ask(target: Target, asked: Asked, known: Known, sender: Sender, report: Report) -> None:
    answer = _judged(target, asked, sender, report)
    if answer is None:
        return
    if answer.ok and (found := json_of(answer)) is not None:
        known.learn(target.id, answer.status_code, found)
    if asked.repeat:
        again = _judged(target, asked, sender, report)
        for check, message in different(answer, again) if again is not None else ():
            report.violated((target.id, check, answer.status_code, ""), message, curl(answer.request))


def _judged(target: Target, asked: Asked, sender: Sender, report: Report) -> Response | None:
    answer = sender.send(asked)
    if isinstance(answer, str):
        report.count(target.id, asked.how, 599, "no answer")
        report.violated((target.id, "answer", 599, ""), "there was no answer", answer)
        return None
    said = json_of(answer)
    problem = str(said.get("type", "")).rpartition(":")[2] if isinstance(said, dict) and not answer.ok else ""
    report.count(target.id, asked.how, answer.status_code, problem)
    for check, message in violations(target, asked, answer):
        report.violated((target.id, check, answer.status_code, problem), message, curl(answer.request))
    return answer
