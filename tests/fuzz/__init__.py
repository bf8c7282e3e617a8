"""Requests made from the services' own OpenAPI documents, and judges of every answer.

`make fuzz` is the long campaign; tests/test_fuzz.py is the short one.
"""
