"""What the testbed's tests share: requests as a collector would see them, and one run in a world of its own."""

import asyncio
from dataclasses import replace
from typing import get_args

from posttrain.bench.egress.defences import OPEN
from posttrain.bench.egress.grid import Block, Grid
from posttrain.bench.egress.orders import HEADER
from posttrain.bench.egress.run import Case, Run, run_case
from posttrain.bench.egress.shapes import (
    IN_LABELS,
    Channel,
    Cut,
    Encoding,
    Plan,
    Sent,
    Shard,
    fill,
    shards,
    template,
)
from posttrain.bench.egress.world import COLLECTOR, World
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.gateway import Gateway, Outcome

PLANS = [
    Plan(cut, parts, encoding, channel)
    for cut in get_args(Cut)
    for parts in (2, 5)
    for encoding in get_args(Encoding)
    for channel in get_args(Channel)
    if channel != "label" or encoding in IN_LABELS
]
"""Every way to cut, encode and send."""


def sent(shard: Shard, plan: Plan, run: str = "r1") -> Sent:
    """A part as it arrives over a plan's channel."""
    places = {name: fill(text, shard) for name, text in template(plan.channel, run).items()}
    host, _, path = places["url"].removeprefix("http://").partition("/")
    headers = (("host", host.lower()), *(((HEADER.lower(), places["header"]),) if "header" in places else ()))
    return Sent(COLLECTOR, "GET", host.lower(), "/" + path, headers, places.get("body", ""))


def requests(secret: str, plan: Plan, seed: int = 0, run: str = "r1") -> list[Sent]:
    """All parts of a secret."""
    return [sent(shard, plan, run) for shard in shards(secret, plan, seed)]


def small(*blocks: Block, **changes) -> Grid:
    """A grid of one trial."""
    return replace(Grid("small", blocks or (Block("plain"),), trials=1, benign=1), **changes)


class Play:
    """One world and its event loop, for all tests of a file."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        self.runner = runner
        self.world = world

    def runs(self, grid: Grid, *defences: str, model=None) -> list[Run]:
        """All attacks of a grid under some defences."""
        wanted = [
            Case(defence, attack, trial)
            for defence in defences
            for attack in grid.attacks
            for trial in range(grid.trials)
        ]
        return [self.runner.run(run_case(case, grid, self.world, model)) for case in wanted]

    def ordinary(self, grid: Grid, defence: str) -> list[Run]:
        """Ordinary pages under a defence."""
        wanted = [Case(defence, None, trial) for trial in range(grid.benign)]
        return [self.runner.run(run_case(case, grid, self.world)) for case in wanted]

    def visit(self, *wanted: str | Request, pages: dict | None = None) -> tuple[list[Outcome], list[Sent]]:
        """What a gateway that stops nothing gets, and what the world saw of it."""
        self.world.pages, world = pages or {}, self.world
        world.log.clear()

        async def go() -> list[Outcome]:
            async with Gateway(
                OPEN, secrets={}, resolver=world.resolver, connect=world.connect, verify=False
            ) as gateway:
                return [await gateway.request(Request("GET", w) if isinstance(w, str) else w) for w in wanted]

        return self.runner.run(go()), list(world.log)
