"""Requests made from the services' own OpenAPI documents, and judges of every answer.

`python -m tests.fuzz 100000` from the repository's root is the long campaign; tests/test_fuzz.py is the short one.
"""
