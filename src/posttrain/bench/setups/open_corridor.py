"""The corridor with nothing hidden: every observation names its leg and its lamp."""

from __future__ import annotations

from posttrain.bench.setups import corridor
from posttrain.bench.setups.setup import WorldSetup


def setup() -> WorldSetup:
    """The corridor's, without aliasing."""
    return corridor.setup(aliased=False)
