"""Short sums to solve, to judge and to repair, in one language: the tiny counterpart of second-order rollout's tasks.

    G:7+5-3=                               solve: the prompt of a row
    +5:12-3:9=9                            a response: every operation and its partial sum, then the answer
    J:7+5-3=+5:12-3:9=9?                   judge: the question and the response, quoted
    +5:12-3:9=9R                           a critique: a recomputation, then R for right or W for wrong
    F:7+5-3=+5:13-3:10=10?+5:12-3:9=9W?    repair: the question, the response and the critique
    +5:12-3:9=9                            a refined response

A quoted text loses every mark that means something in a prompt or as a verdict, so a response cannot plant its own
verdict. The critique prompt holds neither the answer nor the verifier's label.

References:
    Yang et al. 2026, "Towards Better RL Training Data Utilization via Second-Order Rollout", arXiv:2602.22765.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.tasks.dataset import prompt_id
from posttrain.tasks.draw import Split, distinct
from posttrain.tasks.verdict import Verdict, binary

TOKENS = "0123456789+-=:?GJFRW"
"""Every character of prompts and completions, one token each."""
MAX_TOKENS = 21
"""The longest right completion: 3 steps of 5 tokens, 3 for the answer, the verdict and the end token."""
STEPS = (2, 3)
"""Operations of a question."""

_PROMPT = re.compile(r"G:([1-9](?:[+-][1-9])+=)")
_VERDICTS = {"R": True, "W": False}


def sums(n: int, *, seed: int, steps: int | None = None, split: Split = "train") -> list[dict[str, Any]]:
    """Rows with distinct prompts; the same arguments give the same rows.

    Args:
        n: Rows wanted, at least 1. There are about 1900 questions of 2 steps, of which a third is for `eval`.
        seed: Of the draw. No question is in both splits, whatever the seeds.
        steps: Operations of a question, 2 or 3; None for both.
        split: Decided by a hash of the prompt.

    Returns:
        Dicts of `prompt`, `answer`, `id` (a hash of the prompt) and `steps`. No partial sum is below 0.

    Raises:
        ValueError: Arguments out of range, or fewer than `n` questions exist.
    """
    if steps is not None and steps not in STEPS:
        raise ValueError(f"steps is {steps}; expected 2 or 3")

    def draw(generator: random.Random) -> str:
        count = generator.choice(STEPS) if steps is None else steps
        while True:
            drawn = [generator.choice("+-") + generator.choice("123456789") for _ in range(count)]
            prompt = f"G:{generator.choice('123456789')}{''.join(drawn)}="
            if min(partial_sums(prompt)) >= 0:
                return prompt

    rows = []
    for prompt in distinct(n, draw, seed=seed, split=split):
        found = partial_sums(prompt)
        rows.append({"prompt": prompt, "answer": str(found[-1]), "id": prompt_id(prompt), "steps": len(found)})
    return rows


def operations(prompt: str) -> tuple[int, list[int]]:
    """The first number of a question, and what every step adds (below 0 where it subtracts).

    Raises:
        ValueError: `prompt` is not a question.
    """
    question = _question(prompt)
    return int(question[0]), [int(question[i : i + 2]) for i in range(1, len(question) - 1, 2)]


def partial_sums(prompt: str) -> list[int]:
    """The value after every step; the last is the answer."""
    first, rest = operations(prompt)
    return list(itertools.accumulate(rest, initial=first))[1:]


def working(prompt: str, found: Sequence[int]) -> str:
    """A response that writes these partial sums, right if they are `partial_sums(prompt)`."""
    _, rest = operations(prompt)
    return "".join(f"{step:+d}:{total}" for step, total in zip(rest, found, strict=True)) + f"={found[-1]}"


def sum_verdict(completion: str, answer: str) -> Verdict:
    """1 if what follows the last `=` is exactly `answer`, else 0; the working before it is not judged."""
    _, found, last = completion.rpartition("=")
    return binary(bool(found) and last == answer)


@dataclass(frozen=True)
class SumCritique:
    """How a response is quoted for judging and for repair, and how a judgement is read."""

    def prompt(self, question: str, response: str) -> str:
        """The prompt that asks for a critique, such as `J:7+5-3=+5:12-3:9=9?`."""
        return f"J:{_question(question)}{_quoted(response, 'GJFRW?')}?"

    def verdict(self, critique: str) -> bool | None:
        """True if the critique ends in `R`, False if it ends in `W`, None if it ends in neither."""
        return _VERDICTS.get(critique[-1:])

    def refinement(self, question: str, response: str, critique: str) -> str:
        """The prompt that asks for a repaired response; it ends like `...=9W?`."""
        return f"F:{_question(question)}{_quoted(response, 'GJFRW?')}?{_quoted(critique, 'GJF?')}?"


def _question(prompt: str) -> str:
    """`7+5-3=` of `G:7+5-3=`."""
    found = _PROMPT.fullmatch(prompt)
    if not found:
        raise ValueError(f"prompt is {prompt!r}; expected a question such as 'G:7+5-3='")
    return found[1]


def _quoted(text: str, marks: str) -> str:
    """The text without these marks."""
    return text.translate({ord(mark): None for mark in marks})
