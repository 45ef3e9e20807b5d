"""The corridor of look-alike junctions, and the same one with nothing hidden."""

from __future__ import annotations

from typing import Any

from posttrain.bench.setups.policies import novice
from posttrain.bench.setups.setup import WorldSetup, cycled
from posttrain.tasks.worlds.corridor import Corridor, corridors

LEGS, GAP = 6, 2
TURNS = 45
"""Longest episode; without a wrong turn it takes 24."""


def setup(*, aliased: bool = True) -> WorldSetup:
    """HGPO's 16 tasks of 8 episodes; the prompt shows as many turns as it takes to see the lamp."""

    def rows(seed: int) -> list[dict[str, Any]]:
        return corridors(16, seed=seed, legs=LEGS, gap=GAP, aliased=aliased)

    def evaluation(n: int, seed: int) -> dict[str, list[dict[str, Any]]]:
        found = corridors(16, seed=1, legs=LEGS, gap=GAP, aliased=aliased, split="eval")
        return {"other corridors": cycled(found, n)}

    return WorldSetup(
        world=Corridor,
        rows=rows,
        evaluation=evaluation,
        policy=novice,
        learning_rate=5e-3,
        steps=60,
        agent={"form": "window", "window": GAP + 1, "turns": TURNS},
        eval_every=5,
    )
