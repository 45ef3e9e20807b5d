"""TextWorld's coin collector: maps of rooms in a chain, whose coin is to be found and taken."""

from __future__ import annotations

from functools import partial
from typing import Any

from posttrain.bench.setups.policies import novice
from posttrain.bench.setups.setup import WorldSetup, cycled

LEVEL = 6
"""Rooms of the chain."""
MAPS = 8
TURNS = 25
"""Longest episode; a straight walk takes 6."""


def setup() -> WorldSetup:
    """Other maps for every seed; a policy is judged on those it was trained on, as they have nothing in common."""
    return WorldSetup(
        world=text_world,
        rows=partial(maps, LEVEL, MAPS),
        evaluation=lambda n, seed: {"its maps": cycled(maps(LEVEL, MAPS, seed), n)},
        policy=novice,
        learning_rate=5e-3,
        steps=40,
        prompts=MAPS,
        agent={"form": "window", "window": 2, "turns": TURNS},
        eval_rows=64,
        eval_every=5,
    )


def maps(level: int, number: int, seed: int) -> list[dict[str, Any]]:
    """Maps that no other seed has."""
    from posttrain.tasks.worlds.textworld import coin_collector

    return coin_collector(level, seeds=range(1000 * seed, 1000 * seed + number))


def text_world() -> Any:
    """Makes one."""
    from posttrain.bench.setups.known_moves import KnownMoves

    return KnownMoves()
