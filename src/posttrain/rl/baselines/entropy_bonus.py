"""An entropy bonus on every token, the usual way to keep a policy from becoming deterministic (Williams & Peng 1991).

    loss - lambda (1 + cos(pi t / T)) / 2 H_t

for all prompts alike: CEEH-ME (arXiv:2602.22642) without its choice of hard prompts and without its length term.
`length_penalty() | entropy_bonus()` adds it to another method.
Symbols: lambda -> `weight`, H_t -> `live.entropies()` over the whole vocabulary, in nats, with gradient; t, T ->
`live.step`, `live.total_steps`.

Differs from the paper: the bonus is annealed as CEEH's is; `anneal="constant"` is the usual one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from posttrain.rl.batch import Live
from posttrain.rl.math import Annealing, annealed
from posttrain.rl.method import Method


@dataclass(frozen=True)
class EntropyBonus(Method):
    """Uniform entropy regularisation."""

    name = "entropy_bonus"
    paper = "Williams & Peng 1991"

    weight: float = 0.001
    """Weight of the entropy at step 0, per nat."""
    anneal: Annealing = "cosine"
    """The weight falls to 0 along half a cosine, or stays `constant`."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight={self.weight} must be finite and not negative; CEEH's is 0.001.")
        if self.anneal not in ("cosine", "constant"):
            raise ValueError(f"anneal={self.anneal!r} is unknown; use 'cosine' or 'constant'.")

    def penalty(self, live: Live) -> Tensor:
        """-lambda (1 + cos(pi t / T)) / 2 H, (B, T)."""
        return -self.weight * annealed(self.anneal, live.step, live.total_steps) * live.entropies()
