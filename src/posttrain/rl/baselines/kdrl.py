"""KDRL: joint distillation and reinforcement (arXiv:2506.02208), and OPD, distillation alone.

    J = J_GRPO - beta D(pi || pi_T),    R_t = log pi_T(y_t) - log pi(y_t)
    D = k2 = R^2 / 2   (its gradient adds beta R_t to the token's advantage)   or   k3 = exp(R) - R - 1

on tokens sampled from the student. beta is constant (2e-3 on mathematics) or annealed,
beta(s) = max(beta - delta s, beta_min), and the term may be kept only for wrong completions or only for groups
without a correct one. OPD drops the reward: the advantage of a token is log pi_T - log pi.

Symbols: pi_T -> `live.scores["teacher"]`, delta -> `anneal_per_step`, beta_min -> `anneal_to`, s -> `live.step`.
All (B, T), nats. By default tokens are averaged over the whole batch, 1 / sum |o_i|.

Differs from the paper: seen through a review and a re-implementation; RLAD's authors do not say which beta they
used for it, so a comparison sweeps beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from posttrain.rl.batch import Credit, Live, Table
from posttrain.rl.math import Aggregation, kl
from posttrain.rl.method import Method, Score, Settings


@dataclass(frozen=True)
class KDRL(Method):
    """A KL to the teacher beside the reward."""

    name = "kdrl"
    paper = "arXiv:2506.02208"

    teacher: Any
    """A path, a hub id or a module that shares the student's vocabulary."""
    beta: float = 2e-3
    """Weight of the teacher term at step 0 (2e-3 on mathematics; 0.2 on Knights & Knaves in arXiv:2609.04108)."""
    anneal_to: float | None = None
    """Smallest weight when annealing (paper: 1e-3 from 5e-3); None keeps beta constant."""
    anneal_per_step: float = 5e-5
    """How much the weight falls per optimiser step."""
    estimator: Literal["k2", "k3"] = "k2"
    """k2 has the KL's gradient on policy; k3 is reported worse."""
    keep: Literal["all", "incorrect", "unsolved"] = "all"
    """Which completions keep the term: all, the wrong ones, or those of groups without a correct one."""
    aggregation: Aggregation = "token"
    """Mean over all tokens, as the paper's 1 / sum |o_i|."""
    mask_end: bool = False
    """Drop the term at the end token (as arXiv:2609.04108 does)."""

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"beta={self.beta} must not be negative; the paper uses 2e-3.")
        if self.anneal_to is not None and not 0 <= self.anneal_to <= self.beta:
            raise ValueError(f"anneal_to={self.anneal_to} must lie in [0, beta={self.beta}].")
        if not self.anneal_per_step > 0:
            raise ValueError(f"anneal_per_step={self.anneal_per_step} must be above 0; the paper uses 5e-5.")
        if self.estimator not in ("k2", "k3"):
            raise ValueError(f"estimator={self.estimator!r} is unknown; use 'k2' or 'k3'.")
        if self.keep not in ("all", "incorrect", "unsolved"):
            raise ValueError(f"keep={self.keep!r} is unknown; use 'all', 'incorrect' or 'unsolved'.")
        if self.teacher is None:
            raise ValueError(
                f"{self.name} needs a teacher: give a path, a hub id or a module that shares the vocabulary."
            )

    @property
    def settings(self) -> Settings:
        """Token mean."""
        return Settings(aggregation=self.aggregation)

    def scores(self) -> Sequence[Score]:
        """The teacher's log-probabilities of the sampled tokens."""
        return (Score("teacher", model=self.teacher),)

    def weight(self, step: int) -> float:
        """beta(s)."""
        if self.anneal_to is None:
            return self.beta
        return max(self.beta - self.anneal_per_step * step, self.anneal_to)

    def penalty(self, live: Live) -> Tensor:
        """beta(s) D, (B, T)."""
        teacher, now = live.score("teacher"), live.logp.detach()
        if self.keep == "incorrect":  # R = 0 has neither a value nor a gradient, even where the teacher is at -inf
            teacher = torch.where(live.column("correct").bool(), now, teacher)
        if self.keep == "unsolved":
            teacher = torch.where(live.column("any_correct").bool(), now, teacher)
        if self.mask_end:
            teacher = torch.where(live.ends(), now, teacher)
        return self.weight(live.step) * kl(live.logp, teacher, self.estimator)

    def diagnose(self, live: Live) -> dict[str, Tensor]:
        """Distance to the teacher (k1, nats)."""
        return {"teacher/kl": kl(live.logp.detach(), live.score("teacher"), "k1")}


@dataclass(frozen=True)
class OPD(KDRL):
    """On-policy distillation: the teacher term alone, at weight 1.

    Rewards count only in that an unscored row is left out.
    """

    name = "opd"
    paper = "on-policy distillation, as in arXiv:2609.04108"

    beta: float = 1.0
    """Weight of the teacher term; with no other term it only scales the learning rate."""

    def credit(self, table: Table, state: Any) -> Credit:
        """Zero for every row, (B,)."""
        return Credit(torch.zeros_like(table.rewards))
