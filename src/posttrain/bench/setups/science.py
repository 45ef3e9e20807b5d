"""ScienceWorld's power-component for EMPO2: one honest run, with its score and its cost, however low."""

from __future__ import annotations

from typing import Any

from posttrain.bench.setups.policies import READING, reader
from posttrain.bench.setups.setup import Trained, WorldSetup, cycled

TASK = "power-component"
VARIATIONS = 5
"""Of training, as in the paper."""
TESTS = 5
"""Variations of the evaluation."""


def setup() -> WorldSetup:
    """The paper's 5 variations of 8 episodes of at most 30 turns; tests on others, without a memory."""
    return WorldSetup(
        world=_world,
        rows=lambda seed: _rows("train", VARIATIONS),
        evaluation=lambda n, seed: {"test variations": cycled(_rows("test", TESTS), n)},
        policy=reader,
        learning_rate=2e-3,
        steps=20,
        prompts=VARIATIONS,
        agent={**READING, "turns": 30},
        eval_rows=10,
        eval_every=20,
        measure=_measure,
        curves={"agent/earned": "Score while training, in points", "seconds": "Seconds so far"},
    )


def _measure(trained: Trained) -> dict[str, float]:
    """Points on test variations, without a memory."""
    from posttrain.rl.engines.loop import trial

    rows = cycled(_rows("test", TESTS), 2 * TESTS)
    found = trial(trained.recipe, trained.model, rows, seed=1, temperature=setup().temperature)
    return {"score, test variations": sum(row.notes["earned"] for row in found) / len(found)}


def _rows(split: Any, limit: int) -> list[dict[str, Any]]:
    from posttrain.tasks.worlds.scienceworld import rows

    return rows(TASK, split=split, simplification="easy", limit=limit)


def _world() -> Any:
    from posttrain.tasks.worlds.scienceworld import ScienceWorld

    return ScienceWorld()
