"""Coins that are seldom found by chance, for EMPO2; the policy starts out able to read tips, and knows no map."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

from posttrain.bench.setups.coins import maps, text_world
from posttrain.bench.setups.policies import READING, reader
from posttrain.bench.setups.setup import Trained, WorldSetup, cycled

LEVEL = 14
MAPS = 5
TURNS = 40
AGENT: dict[str, Any] = {**READING, "turns": TURNS}
ROUNDS = 8
"""Of adaptation to maps that were not trained on."""
EPISODES = 8
"""Of each of those maps in a round."""


def setup() -> WorldSetup:
    """The paper's five variations of a task; novelty and tips by hashed words, whose rooms share most of theirs."""
    return WorldSetup(
        world=text_world,
        rows=partial(maps, LEVEL, MAPS),
        evaluation=lambda n, seed: {"its maps, without tips": cycled(maps(LEVEL, MAPS, seed), n)},
        policy=reader,
        learning_rate=5e-3,
        steps=60,
        prompts=MAPS,
        agent=AGENT,
        budget=80_000,
        eval_rows=40,
        eval_every=5,
        measure=_measure,
        curves={"actions": "Actions so far"},
    )


def _measure(trained: Trained) -> dict[str, float]:
    """Adaptation: the return on other maps with a growing memory and the weights as they are."""
    from posttrain.rl import EMPO2, Task, adapt
    from posttrain.rl.engines.loop import LoopSampler
    from posttrain.tasks.worlds.crowd import Crowd

    rows = maps(LEVEL, MAPS, trained.seed + 500)
    with Crowd(text_world, threads=1) as worlds:
        method = EMPO2(worlds=worlds, **AGENT)
        sampler = LoopSampler(trained.model, rows, lambda row: 0.0, 1, random.Random(trained.seed))
        tasks = [Task(row["prompt"], i, i, row, row["id"]) for i, row in enumerate(rows * EPISODES)]
        _, earned = asyncio.run(adapt(method, tasks, sampler, method.initial_state(), ROUNDS))
    return {"other maps, round 1": earned[0], f"other maps, round {ROUNDS}": earned[-1]}
