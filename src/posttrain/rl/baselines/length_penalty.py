"""Two baselines that shorten correct answers within their group: Length-Penalty and LC-R1's reward.

Length-Penalty (Arora & Zanette 2025, arXiv:2502.04463):

    r_i = 1[correct] (1 - alpha sigmoid((L_i - mean(L)) / std(L))),    mean and std over the group's correct answers

LC-R1 (Cheng et al. 2025, arXiv:2506.14755; as the authors' code has it):

    r_i = format_i + 1[correct] + c l_i,    l_i = 1 - L_i / max L over the group's correct answers

and for both A_i = r_i - mean(r), not divided by the deviation. Symbols: L -> `table.length` in tokens; 1[correct]
and format are the task's own reward, `table.rewards`. Rows that are extra, unscored or of unknown correctness get no
length term and do not enter a mean or a maximum, but they get their advantage.

Differs from the papers: Arora & Zanette estimate with leave-one-out (A times G / (G - 1)); the deviation is the
population's, and 1e-7 is added to it. One correct answer, or several of one length, lie at the mean: sigmoid(0).
Of LC-R1 only the reward is here. Left out are the second model that cuts each reasoning trace where its answer is
first reached, with the loss on the cut trace, and the extra advantage of the end-of-thinking token: they need that
model and a thinking format, and compress in another way than by reward, which is what a comparison is about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from posttrain.rl.batch import Credit, Table
from posttrain.rl.math import group_advantages, group_max, masked_mean
from posttrain.rl.method import Method


@dataclass(frozen=True)
class LengthPenalty(Method):
    """A correct answer loses more, the longer it is among the group's correct answers."""

    name = "length_penalty"
    paper = "Arora & Zanette 2025, arXiv:2502.04463"

    alpha: float = 0.1
    """At most this is taken from a correct answer, in [0, 1) (the paper sweeps 0.05 to 0.4)."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise ValueError(
                f"alpha={self.alpha} must lie in [0, 1), so that a correct answer beats a wrong one; "
                "the paper sweeps 0.05 to 0.4."
            )

    def credit(self, table: Table, state: Any) -> Credit:
        """A, (B,)."""
        right = table.right
        length = table.length.to(table.rewards.dtype)
        relative = group_advantages(torch.where(right, length, math.nan), table.group, epsilon=1e-7)
        taken = torch.where(right, self.alpha * torch.sigmoid(relative), 0.0)
        advantages = group_advantages(table.rewards - taken, table.group, spread="none")
        return Credit(advantages, metrics={"length_penalty/taken": masked_mean(taken, right).item()})


@dataclass(frozen=True)
class LCR1(Method):
    """Every answer gains by how much shorter it is than the group's longest correct one, wrong answers too.

    A short wrong answer can so come close to a long correct one. The group's longest correct answer gains nothing,
    and a group without a correct answer has no length term.
    """

    name = "lc_r1"
    paper = "Cheng et al. 2025, arXiv:2506.14755"

    c: float = 1.0
    """Weight of the length term."""

    def __post_init__(self) -> None:
        if not 0 <= self.c < math.inf:
            raise ValueError(f"c={self.c} must be finite and not negative; the authors use 1, and 0 switches it off.")

    def credit(self, table: Table, state: Any) -> Credit:
        """A, (B,)."""
        answers = table.judged
        length = table.length.clamp(min=1).to(table.rewards.dtype)
        longest = group_max(torch.where(table.right, length, 0.0), table.group)
        gain = torch.where(answers & (longest > 0), self.c * (1 - length / longest.clamp(min=1)), 0.0)
        advantages = group_advantages(table.rewards + gain, table.group, spread="none")
        return Credit(advantages, metrics={"lc_r1/gain": masked_mean(gain, answers).item()})
