"""What a comparison trains on: a shipped student and teacher, prompts, held-out prompts and a verifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from posttrain.tasks.verdict import Verifier


@dataclass(frozen=True)
class Setup:
    """One task with its tiny models and the settings tuned for them on seeds 0 to 2."""

    student: str
    """Name in the zoo."""
    teacher: str
    """Name in the zoo."""
    rows: Callable[[int], list[dict[str, Any]]]
    """Training rows of a seed."""
    held_out: Callable[[int], dict[str, list[dict[str, Any]]]]
    """About n evaluation rows in named groups, the same for every seed."""
    verify: Verifier
    """Judges a completion."""
    max_completion: int
    """Longest completion in tokens."""
    learning_rate: float
    """For the student, with AdamW."""
    inner_steps: int
    """Optimiser steps per generation."""
    steps: int
    """Optimiser steps of a run."""


def setup(name: str) -> Setup:
    """A task's setup; a sentence for an unknown one."""
    if name != "knights-knaves":
        raise ValueError(f"There is no task {name!r} to compare on; the tasks are knights-knaves.")
    from posttrain.tasks.knights_knaves import compact_verdict, puzzles

    def rows(seed: int) -> list[dict[str, Any]]:
        return puzzles(150, people=2, seed=seed) + puzzles(850, people=3, seed=seed)

    def held_out(n: int) -> dict[str, list[dict[str, Any]]]:
        sizes = {2: n // 2, 3: n - n // 2}
        return {f"{k} people": puzzles(size, people=k, seed=1, split="eval") for k, size in sizes.items()}

    return Setup(
        student="kk/student",
        teacher="kk/teacher",
        rows=rows,
        held_out=held_out,
        verify=compact_verdict,
        max_completion=60,
        learning_rate=2e-4,
        inner_steps=1,
        steps=40,
    )
