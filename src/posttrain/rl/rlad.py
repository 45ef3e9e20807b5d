"""RLAD: reinforcement-aware distillation (Zhang et al. 2026, arXiv:2602.22495).

The importance ratio is taken against a geometric mixture of the sampling policy and a teacher, so the teacher
rescales or vetoes what the reward asks for and never competes with it:

    log r_t = alpha (log pi - log pi_old) + (1 - alpha) clamp(log pi - log pi_T, -c, c)        (Eq. 5, App. B)
            = log pi - log m_t,    m_t = pi_old^alpha pi_T^(1 - alpha)                         (Eq. 3)

with r_t in place of GRPO's ratio, clipped to [1 - 0.2, 1 + 0.28] (Sec. 5); A, aggregation and the KL to the
reference are GRPO's (Eq. 4). There is no separate teacher term: A = 0 gives no gradient, alpha = 1 is GRPO.
Symbols: pi -> `live.logp`, pi_old -> `live.logp_old`, pi_T -> `live.scores["teacher"]`, c -> `clamp`; all (B, T), nats.

Differs from the paper: outside the clamp the value is the printed one but the gradient passes through whole
(`clamp_gradient="literal"` for the printed form, which scales it by alpha, to nothing at alpha = 0). The paper does
not say which it used. One sentence of Sec. 4.1 reverses alpha's direction; Eq. 3 and Appendix C stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from posttrain.rl.batch import Live
from posttrain.rl.math import kl
from posttrain.rl.method import Method, Score, Settings


@dataclass(frozen=True)
class RLAD(Method):
    """The teacher in the ratio."""

    name = "rlad"
    paper = "Zhang et al. 2026, arXiv:2602.22495"

    teacher: Any
    """A path, a hub id or a module that shares the student's vocabulary."""
    alpha: float = 0.5
    """Weight of the sampling policy in the mixture; 1 is GRPO (ablation: best between 0.3 and 0.7)."""
    clip_low: float = 0.2
    """The ratio's lower bound is 1 - clip_low (logic experiments)."""
    clip_high: float = 0.28
    """The ratio's upper bound is 1 + clip_high (logic experiments)."""
    clamp: float = 1.0
    """Bound on |log pi - log pi_T| in nats (Appendix B)."""
    clamp_gradient: Literal["through", "literal"] = "through"
    """Outside the clamp: the whole gradient, or alpha times it as printed."""
    mixture: Literal["geometric", "arithmetic"] = "geometric"
    """The paper's; `arithmetic` is an ablation, log(alpha pi_old + (1 - alpha) pi_T), and a different method."""
    mask_end: bool = False
    """Leave the end token to the sampling policy alone (as arXiv:2609.04108 does)."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha={self.alpha} must lie in [0, 1]; the paper uses 0.5, and 1 is GRPO.")
        if not self.clamp > 0:
            raise ValueError(f"clamp={self.clamp} must be above 0 nats; the paper uses 1.")
        if self.clamp_gradient not in ("through", "literal"):
            raise ValueError(f"clamp_gradient={self.clamp_gradient!r} is unknown; use 'through' or 'literal'.")
        if self.mixture not in ("geometric", "arithmetic"):
            raise ValueError(f"mixture={self.mixture!r} is unknown; use 'geometric' or 'arithmetic'.")
        if self.mixture == "arithmetic" and self.alpha in (0, 1):
            raise ValueError(f"mixture='arithmetic' is not defined at alpha={self.alpha}; take alpha inside (0, 1).")
        if self.teacher is None:
            raise ValueError("RLAD needs a teacher: give a path, a hub id or a module that shares the vocabulary.")

    @property
    def settings(self) -> Settings:
        """Asymmetric clip."""
        return Settings(clip_low=self.clip_low, clip_high=self.clip_high)

    def scores(self) -> Sequence[Score]:
        """The teacher's log-probabilities of the sampled tokens."""
        return (Score("teacher", model=self.teacher),)

    def anchor(self, live: Live) -> Tensor:
        """Log m_t, (B, T). Clamped first, so that a teacher at -inf stays finite even at alpha = 1."""
        now = live.logp if self.clamp_gradient == "literal" else live.logp.detach()
        teacher = torch.minimum(torch.maximum(live.score("teacher"), now - self.clamp), now + self.clamp)
        if self.mixture == "arithmetic":
            mixed = torch.logaddexp(live.logp_old + math.log(self.alpha), teacher + math.log1p(-self.alpha))
        else:
            mixed = self.alpha * live.logp_old + (1 - self.alpha) * teacher
        if self.mask_end:
            mixed = torch.where(live.ends(), live.logp_old, mixed)
        return mixed

    def diagnose(self, live: Live) -> dict[str, Tensor]:
        """Distance to the teacher (k1, nats) and the share of tokens outside the clamp."""
        gap = kl(live.logp.detach(), live.score("teacher"), "k1")
        return {"teacher/kl": gap, "teacher/clamped": (gap.abs() > self.clamp).to(gap.dtype)}
