"""Hypothesis: few examples, always the same ones."""

from hypothesis import settings

settings.register_profile("posttrain", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("posttrain")
