"""The auxiliary few-shot loss of value-only tuning (Lee et al. 2026, arXiv:2602.23197).

    L_t = L_ZS + lambda_t L_FS,    lambda_t = lambda_0 (T - 1 - t) / (T - 1)

L_ZS is the loss of the answer after its question alone, L_FS that of the same answer after n examples of the same task
and the question; lambda falls from lambda_0 (1) to 0 over the T steps. In linear attention this settles the one number
that L_ZS leaves free (how much weight an example's answer has) and moves nothing else.

Symbols: t -> `step` (from 0), T -> `total`, lambda_0 -> `initial`, n -> `shots`.

Differs from the paper: each row has one fixed set of examples, drawn by `seed`, so that a run that goes on after a kill
sees the same; the LLM runs of the paper anneal by epoch, here as in its regression runs it is by step.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.tune.theory import few_shot_weight

Weight = Literal["linear", "none", "constant"]
COLUMN = "few_shot_prompt"
"""A row's prompt with examples before it."""


@dataclass(frozen=True)
class FewShot:
    """Weight of the few-shot loss, and its examples."""

    weight: Weight | Callable[[int, int], float] = "linear"
    """Falls to 0, is not there, stays, or a function of the step and the number of steps."""
    initial: float = 1.0
    """lambda_0, the weight in the first step."""
    shots: int = 4
    """Examples before each question, where the data set has no column of its own."""
    by: tuple[str, ...] = ("task", "subject")
    """The first of these columns that the data set has says which rows are of one task; without any, all are."""
    separator: str = "\n\n"
    """Between examples of plain text; in chats they are earlier turns."""
    seed: int = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        if not callable(self.weight) and self.weight not in ("linear", "none", "constant"):
            raise ValueError(f"weight={self.weight!r} is unknown; use 'linear', 'none', 'constant' or a function.")
        if not self.initial >= 0:
            raise ValueError(f"initial={self.initial} must not be negative; the paper starts at 1.")
        if self.shots < 1 and self.weight != "none":
            raise ValueError(f"shots={self.shots} must be at least 1; use weight='none' to train without examples.")

    def at(self, step: int, total: int) -> float:
        """Lambda at a step from 0 of `total`; it depends on nothing else, so that a resumed run goes on as it was."""
        if callable(self.weight):
            return float(self.weight(step, total))
        if self.weight == "linear":
            return self.initial * few_shot_weight(min(step, total - 1), total)
        return self.initial if self.weight == "constant" else 0.0


def with_examples(rows: Sequence[Mapping[str, Any]], few_shot: FewShot) -> list[Any]:
    """For each row its prompt with examples before it: n rows of the same task with other prompts, drawn at random.

    Args:
        rows: With `prompt` and `completion`, texts or lists of messages, and perhaps a column that names the task.
        few_shot: How many, of what, and the seed.

    Raises:
        ValueError: A task has too few rows.
    """
    column = next((name for name in few_shot.by if rows and name in rows[0]), None)
    tasks: dict[Any, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        tasks[row[column] if column else None].append(place)
    return [
        prompt_with(row, _drawn(rows, place, tasks, row[column] if column else None, few_shot), few_shot)
        for place, row in enumerate(rows)
    ]


def prompt_with(row: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], few_shot: FewShot) -> Any:
    """A row's prompt with examples before it: text joined by the separator, or earlier turns of a chat.

    System messages of the examples are left out; the row's own comes first.
    """
    if isinstance(row["prompt"], str):
        return "".join(f"{each['prompt']}{each['completion']}{few_shot.separator}" for each in examples) + row["prompt"]
    system = [turn for turn in row["prompt"] if turn["role"] == "system"]
    turns = [turn for each in examples for turn in (*each["prompt"], *each["completion"]) if turn["role"] != "system"]
    return [*system, *turns, *(turn for turn in row["prompt"] if turn["role"] != "system")]


def _drawn(
    rows: Sequence[Mapping[str, Any]], place: int, tasks: Mapping[Any, list[int]], task: Any, few_shot: FewShot
) -> list[Mapping[str, Any]]:
    """The examples of one row, the same whatever the other rows are drawn."""
    others = [rows[other] for other in tasks[task] if rows[other]["prompt"] != rows[place]["prompt"]]
    if len(others) < few_shot.shots:
        named = f"The task {task!r} has" if task is not None else "The data set has"
        raise ValueError(
            f"{named} {len(others)} rows with other prompts than row {place}, and {few_shot.shots} examples are "
            "needed; lower the shots, or add rows."
        )
    return random.Random(f"{few_shot.seed} {place}").sample(others, few_shot.shots)
