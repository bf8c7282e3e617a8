"""A model check of compare-and-append by fold: many seeded schedules over the real code of the write side.

What is real: `job.decide`, `evolve`, `accepts`, HeadStore, Tail, Pending, the protocol and the whole of JobWriter.
What is not: threads are tasks that a seeded scheduler resumes one at a time (`machine.py`), time passes only when
the scheduler says so, and the broker is a list that loses, repeats, delays and forgets (`broker.py`).
Every answer and every fold is held against a fold written a second time from the design's rule (`reference.py`) by
a judge that sees the whole world (`judge.py`).

    python -m darkroom.runtime.modelcheck --schedules 200000
    python -m darkroom.runtime.modelcheck --seed 4711 --trace

It belongs to the tests: greenlet, which it needs, comes with the development tools.
"""
