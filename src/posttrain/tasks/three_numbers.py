"""Three numbers: combine two of them into the third (the arithmetic environment of UpSkill).

    3 5 8=        the prompt: three shuffled numbers from 0 to 9
    3+5           right, and so are 5+3, 8-3 and 8-5

Most prompts have several right answers, so a model can be right in different ways. A strategy is asked for with a
prefix, `Strategy 2 | 3 5 8=`.

References:
    Shah et al. 2026, "UpSkill", arXiv:2602.22296.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

from posttrain.tasks.dataset import prompt_id
from posttrain.tasks.draw import Split, distinct
from posttrain.tasks.verdict import Verdict, binary

OPERATORS = "+-*/%"
TOKENS = ("Strategy ", " | ", *"0123456789", *OPERATORS, " ", "=")
"""Every token of prompts and answers."""
MAX_TOKENS = 4
"""An expression and its end token."""


def three_numbers(n: int, *, seed: int, split: Split = "train") -> list[dict[str, Any]]:
    """Rows with distinct prompts, each with at least one right answer; the same arguments give the same rows.

    Args:
        n: Rows wanted, at least 1. There are several hundred prompts, of which about a third for `eval`.
        seed: Of the draw. No prompt is in both splits, whatever the seeds.
        split: Decided by a hash of the prompt, so held-out prompts are mostly other orders of numbers seen in
            training. There are too few numbers to hold out more and still learn from 100 steps.

    Returns:
        Dicts of `prompt`, `answer` (the three numbers, which is what `three_numbers_verdict` needs) and `id` (a
        hash of the prompt).

    Raises:
        ValueError: Arguments out of range, or fewer than `n` prompts exist.
    """

    def draw(generator: random.Random) -> str:
        while True:
            numbers = " ".join(generator.choice("0123456789") for _ in range(3))
            if right_answers(numbers):
                return numbers

    found = distinct(n, draw, seed=seed, split=split)
    return [{"prompt": f"{text}=", "answer": text, "id": prompt_id(f"{text}=")} for text in found]


def with_strategy(prompt: str, strategy: int) -> str:
    """The prompt that asks for a strategy, from 1.

    Raises:
        ValueError: `strategy` is not one digit from 1 to 9.
    """
    if not 1 <= strategy <= 9:
        raise ValueError(f"strategy is {strategy}; expected 1 to 9")
    return f"Strategy {strategy} | {prompt}"


def right_answers(numbers: str) -> list[str]:
    """Every right expression for three numbers such as `3 5 8`, in a fixed order."""
    found = {}
    for first, second, third in itertools.permutations(_parse(numbers)):
        for operator in OPERATORS:
            if _value(first, operator, second) == third:
                found[f"{first}{operator}{second}"] = None
    return sorted(found)


def three_numbers_verdict(completion: str, answer: str) -> Verdict:
    """1 if the completion is an expression of two of the three numbers in `answer` that gives the remaining one.

    A number that is given once may be used once. `/` must leave no remainder, and neither `/` nor `%` takes 0.

    Raises:
        ValueError: `answer` is not three numbers.
    """
    left = Counter(_parse(answer))
    well_formed = len(completion) == 3 and completion[1] in OPERATORS and completion.isascii()
    if not well_formed or not (completion[0].isdigit() and completion[2].isdigit()):
        return binary(False)
    first, operator, second = int(completion[0]), completion[1], int(completion[2])
    used = Counter((first, second))
    if used - left:
        return binary(False)
    (remaining,) = (left - used).elements()
    return binary(_value(first, operator, second) == remaining)


def _value(first: int, operator: str, second: int) -> int | None:
    """What an expression of two numbers gives; None if it gives no whole number."""
    match operator:
        case "+":
            return first + second
        case "-":
            return first - second
        case "*":
            return first * second
        case "/":
            return first // second if second and first % second == 0 else None
        case _:
            return first % second if second else None


def _parse(numbers: str) -> list[int]:
    """Three numbers from 0 to 9."""
    parts = numbers.split(" ")
    if len(parts) != 3 or any(len(part) != 1 or part not in "0123456789" for part in parts):
        raise ValueError(f"answer is {numbers!r}; expected three numbers from 0 to 9, such as '3 5 8'")
    return [int(part) for part in parts]
