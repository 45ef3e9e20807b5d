"""Chained sums modulo 10, with traces that say more than they need to.

    7+5-3+8=                               the prompt: 3 steps from the left, each result modulo 10
    +5:2-3:9+8:7=7                         the shortest trace: every operation and its partial sum
    +5:2:2(7+5:2)-3:9(2-3:9)+8:7:7=7       a wordy one

After a step a trace may repeat the partial sum (`:2`) and may restate the whole step (`(7+5:2)`); neither tells
anything new. What follows the last `=` is the answer. A long chain needs its partial sums, but nothing else.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from typing import Any, Literal

from posttrain.tasks.dataset import prompt_id
from posttrain.tasks.draw import Split, distinct
from posttrain.tasks.verdict import Verdict, binary

Level = Literal["easy", "middle", "hard"]

LEVELS: dict[Level, tuple[int, ...]] = {"easy": (2, 3), "middle": (4, 5), "hard": (6, 7, 8)}
"""Steps of the chains of a level."""
TOKENS = "0123456789+-=:()"
"""Every character of prompts and traces, one token each."""
MAX_TOKENS = 107
"""The longest trace: 8 steps of 13 tokens, the answer and the end token."""

_PROMPT = re.compile(r"[0-9](?:[+-][0-9])+=")
_STEPS = {steps: level for level, counts in LEVELS.items() for steps in counts}


def chains(
    n: int, *, seed: int, level: Level | None = None, steps: int | None = None, split: Split = "train"
) -> list[dict[str, Any]]:
    """Rows with distinct prompts; the same arguments give the same rows.

    Args:
        n: Rows wanted, at least 1. There are 4000 chains of 2 steps, of which a third is for `eval`.
        seed: Of the draw. No chain is in both splits, whatever the seeds.
        level: `easy` for 2 or 3 steps, `middle` for 4 or 5, `hard` for 6 to 8.
        steps: One number of steps instead of a level, 2 to 8.
        split: Decided by a hash of the prompt.

    Returns:
        Dicts of `prompt`, `answer`, `id` (a hash of the prompt), `steps` and `level`.

    Raises:
        ValueError: Arguments out of range, or fewer than `n` chains exist.
    """
    if (level is None) == (steps is None):
        raise ValueError(f"level is {level!r} and steps is {steps}; give one of the two")
    if level is not None and level not in LEVELS:
        raise ValueError(f"level is {level!r}; expected one of {', '.join(LEVELS)}")
    if steps is not None and steps not in _STEPS:
        raise ValueError(f"steps is {steps}; expected {min(_STEPS)} to {max(_STEPS)}")
    counts = (steps,) if steps is not None else LEVELS[level or "easy"]

    def draw(generator: random.Random) -> str:
        operations = [generator.choice("+-") + generator.choice("0123456789") for _ in range(generator.choice(counts))]
        return generator.choice("0123456789") + "".join(operations) + "="

    rows = []
    for prompt in distinct(n, draw, seed=seed, split=split):
        sums = partial_sums(prompt)
        rows.append(
            {
                "prompt": prompt,
                "answer": str(sums[-1]),
                "id": prompt_id(prompt),
                "steps": len(sums),
                "level": _STEPS[len(sums)],
            }
        )
    return rows


def operations(prompt: str) -> tuple[int, list[tuple[str, int]]]:
    """The first number of a chain, and the sign and number of every step.

    Raises:
        ValueError: `prompt` is not a chain.
    """
    if not _PROMPT.fullmatch(prompt):
        raise ValueError(f"prompt is {prompt!r}; expected a chain such as '7+5-3='")
    return int(prompt[0]), [(prompt[i], int(prompt[i + 1])) for i in range(1, len(prompt) - 1, 2)]


def apply(value: int, sign: str, number: int) -> int:
    """One step: the sum or difference modulo 10."""
    return (value + number if sign == "+" else value - number) % 10


def partial_sums(prompt: str) -> list[int]:
    """The value after every step, modulo 10; the last is the answer."""
    first, rest = operations(prompt)
    return list(itertools.accumulate(rest, lambda value, step: apply(value, *step), initial=first))[1:]


def trace(prompt: str, *, sums: Sequence[int], repeated: Sequence[bool], restated: Sequence[bool]) -> str:
    """A worked completion, right if `sums` are `partial_sums(prompt)`.

    Args:
        prompt: The chain.
        sums: The partial sums to write, one per step.
        repeated: Per step: write the partial sum a second time?
        restated: Per step: write the whole step a second time?
    """
    value, rest = operations(prompt)
    text = ""
    for (sign, number), total, again, whole in zip(rest, sums, repeated, restated, strict=True):
        step = f"{sign}{number}:{total}"
        text += step + f":{total}" * again + f"({value}{step})" * whole
        value = total
    return f"{text}={value}"


def chain_verdict(completion: str, answer: str) -> Verdict:
    """1 if what follows the last `=` is exactly `answer`, else 0; the trace before it is not judged."""
    _, found, last = completion.rpartition("=")
    return binary(bool(found) and last == answer)
