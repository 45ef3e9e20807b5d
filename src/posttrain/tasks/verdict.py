"""What a verifier says about a completion.

A verifier is a function `(completion, answer) -> Verdict`. A verdict that could not be reached is `UNSCORED`
(NaN), never 0: an unscored row takes no part in training and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Verdict(NamedTuple):
    """The judgement of one completion."""

    reward: float
    """What training maximises; NaN if unscored."""
    correct: float
    """1.0 or 0.0: whether the answer is right, whatever the reward's scale; NaN if unscored."""

    @property
    def scored(self) -> bool:
        """Whether a reward was reached."""
        return not math.isnan(self.reward)


UNSCORED = Verdict(math.nan, math.nan)

Verifier = Callable[[str, str], Verdict]
"""`(completion, answer) -> Verdict`, both plain text."""


def binary(correct: bool) -> Verdict:
    """Reward 1 for a right answer and 0 for a wrong one."""
    return Verdict(float(correct), float(correct))
