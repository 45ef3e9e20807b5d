r"""GSM8K for real models: word problems whose answer is a number.

The files have the columns `question` and `answer`; an answer is a solution that ends in `#### 72`. Judge with the
`math` verifier (`verifiers.verifier("math")`), which reads the last `\boxed{...}` of a completion.

    train = rows("train.jsonl")

References:
    Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv:2110.14168.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.tasks.dataset import Columns, DatasetError, load

INSTRUCTION = r"Reason step by step, and put the final answer within \boxed{}."
"""Follows every question."""


def rows(path: str | Path) -> list[dict[str, Any]]:
    """One row per problem, in the order of the file.

    Args:
        path: A JSON Lines file with the columns `question` and `answer`.

    Returns:
        Dicts of `prompt` (the question and `INSTRUCTION`), `answer` (the number after `####`, without the commas
        between thousands) and `id` (the file's, else a hash of the question).

    Raises:
        DatasetError: The file cannot be read, or a solution has no `####` with an answer after it.
    """
    found = load(path, Columns(prompt="question", answer="answer")).rows
    return [
        {
            "prompt": f"{row['prompt']}\n\n{INSTRUCTION}",
            "answer": _final(row["answer"], f"{path}, problem {number}"),
            "id": row["id"],
        }
        for number, row in enumerate(found, start=1)
    ]


def _final(solution: str, where: str) -> str:
    _, mark, last = solution.rpartition("####")
    answer = last.strip().replace(",", "")
    if not mark or not answer:
        raise DatasetError(f"{where}: the answer has no number after '####'; give GSM8K's own `answer` column.")
    return answer
