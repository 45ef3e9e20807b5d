"""One world for all tests of a file."""

import asyncio

import pytest
from testbed import Play

from posttrain.bench.egress.world import World


@pytest.fixture(scope="module")
def play():
    with asyncio.Runner() as runner:
        world = World()
        runner.run(world.__aenter__())
        yield Play(runner, world)
        runner.run(world.__aexit__(None, None, None))
