"""Hypothesis without deadlines per example: on a busy machine they would say more about it than about the code."""

from hypothesis import settings

settings.register_profile("darkroom", deadline=None)
settings.load_profile("darkroom")
