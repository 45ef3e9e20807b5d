"""Knights & Knaves in the formal language, with a student that guesses at composed statements and a good teacher."""

from __future__ import annotations

from typing import Any

from posttrain.bench.setups.setup import Setup
from posttrain.tasks.knights_knaves import compact_verdict, puzzles


def setup() -> Setup:
    """2 and 3 people; tuned for GRPO."""
    return Setup(
        student="kk/student",
        teacher="kk/teacher",
        rows=_rows,
        evaluation=_held_out,
        verify=compact_verdict,
        max_completion=60,
        learning_rate=2e-4,
        steps=40,
    )


def _rows(seed: int) -> list[dict[str, Any]]:
    return puzzles(150, people=2, seed=seed) + puzzles(850, people=3, seed=seed)


def _held_out(n: int) -> dict[str, list[dict[str, Any]]]:
    sizes = {2: n // 2, 3: n - n // 2}
    return {f"{k} people": puzzles(size, people=k, seed=1, split="eval") for k, size in sizes.items()}
