"""C-RL: critique training alone, on the policy's own answers (Yang et al. 2026, arXiv:2602.22765, its ablation).

Second-order rollout whose answers get no advantage: they are sampled, verified and judged, but only the critiques are
trained. The paper reports that this collapses, because nothing rewards a right answer: the policy learns to answer
wrongly and to call everything wrong. Its C-RL with a *static* set of pairs is plain `grpo()` on
`posttrain.tasks.critique.critique_rows`.

    A(r) = 0,    A(c) = (R(c) - mean(R)) / std(R) over the critiques of a pair

Shapes: (B,). Differs from the paper: answers still count as rows in the mean over sequences, which scales the step,
and the KL to the reference holds on them too (`kl_beta=0` switches it off).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from posttrain.rl.batch import Credit, Table
from posttrain.rl.math import Spread, group_advantages
from posttrain.rl.second_order import SecondOrder


@dataclass(frozen=True)
class CRL(SecondOrder):
    """Critiques of the policy's own answers, which are not trained themselves."""

    name = "c_rl"

    spread: Spread = "population"
    """Which standard deviation divides: `population`, `sample` or `none`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread not in ("population", "sample", "none"):
            raise ValueError(f"spread={self.spread!r} is unknown; use 'population', 'sample' or 'none'.")
        if self.group == "answers":
            raise ValueError(
                "group='answers' would compare critiques with answers, which c_rl does not train; use 'pair' or "
                "'question', or second_order."
            )

    def credit(self, table: Table, state: Any) -> Credit:
        """A, (B,): 0 for answers."""
        advantages = group_advantages(table.rewards, table.group, spread=self.spread)
        return Credit(torch.where(table.answers, torch.zeros_like(advantages), advantages))
