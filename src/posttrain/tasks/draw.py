"""Distinct prompts from a random draw, divided into training and evaluation by a hash."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Literal

Split = Literal["train", "eval"]

_EVAL_SHARE = 3  # one text in three is for evaluation
_MISSES = 20_000  # draws in a row without a new prompt that show an exhausted pool


def split_of(text: str) -> Split:
    """The split a text belongs to, whatever else is drawn."""
    return "eval" if int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % _EVAL_SHARE == 0 else "train"


def distinct(n: int, draw: Callable[[random.Random], str], *, seed: int, split: Split) -> list[str]:
    """`n` different texts of one split, in the order in which they were drawn.

    Args:
        n: How many, at least 1.
        draw: Makes one text.
        seed: Of the draw.
        split: `train` or `eval`.

    Raises:
        ValueError: Arguments out of range, or fewer than `n` texts were found.
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least 1 prompt")
    if split not in ("train", "eval"):
        raise ValueError(f"split is {split!r}; expected 'train' or 'eval'")
    generator = random.Random(seed)
    found: dict[str, None] = {}
    misses = 0
    while len(found) < n:
        text = draw(generator)
        if text not in found and split_of(text) == split:
            found[text] = None
            misses = 0
        else:
            misses += 1
        if misses > _MISSES:
            raise ValueError(f"n is {n}, but only {len(found)} {split} prompts were found; ask for at most that many")
    return list(found)
