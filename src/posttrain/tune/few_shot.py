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
from collections import Counter, defaultdict
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
    return [
        prompt_with(row, pool.draw(row, few_shot.shots, f"{few_shot.seed} {place}"), few_shot)
        for place, (row, pool) in enumerate(zip(rows, pools(rows, few_shot), strict=True))
    ]


def pools(rows: Sequence[Mapping[str, Any]], few_shot: FewShot) -> list[Pool]:
    """For each row what its examples are drawn from; arguments and errors as of `with_examples`."""
    column = next((name for name in few_shot.by if rows and name in rows[0]), None)
    named = [row[column] if column else None for row in rows]
    tasks: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row, task in zip(rows, named, strict=True):
        tasks[task].append(row)
    by_task = {task: Pool(each) for task, each in tasks.items()}
    for place, (row, task) in enumerate(zip(rows, named, strict=True)):
        if by_task[task].others(row) < few_shot.shots:
            whose = f"The task {task!r} has" if task is not None else "The data set has"
            raise ValueError(
                f"{whose} {by_task[task].others(row)} rows with other prompts than row {place}, and {few_shot.shots} "
                "examples are needed; lower the shots, or add rows."
            )
    return [by_task[task] for task in named]


class Pool:
    """Rows to draw examples from; none with the prompt that they are for, which would tell the answer."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows
        self._same = Counter(repr(row["prompt"]) for row in rows)

    def others(self, row: Mapping[str, Any]) -> int:
        """How many rows have another prompt."""
        return len(self.rows) - self._same[repr(row["prompt"])]

    def draw(self, row: Mapping[str, Any], many: int, seed: str) -> list[Mapping[str, Any]]:
        """Examples for a row, at most `many`; it takes no longer where there are many rows."""
        drawn = min(len(self.rows), many + self._same[repr(row["prompt"])])
        found = random.Random(seed).sample(self.rows, drawn)
        return [each for each in found if each["prompt"] != row["prompt"]][:many]


def prompt_with(row: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], few_shot: FewShot) -> Any:
    """A row's prompt with examples before it: text joined by the separator, or earlier turns of a chat.

    System messages of the examples are left out; the row's own comes first.
    """
    if isinstance(row["prompt"], str):
        return "".join(f"{each['prompt']}{each['completion']}{few_shot.separator}" for each in examples) + row["prompt"]
    system = [turn for turn in row["prompt"] if turn["role"] == "system"]
    turns = [turn for each in examples for turn in (*each["prompt"], *each["completion"]) if turn["role"] != "system"]
    return [*system, *turns, *(turn for turn in row["prompt"] if turn["role"] != "system")]
