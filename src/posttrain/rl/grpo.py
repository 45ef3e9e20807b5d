"""GRPO: group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300), as RLAD's paper states it.

For each prompt G completions are sampled from the current policy; with r_i their rewards,

    A_i = (r_i - mean(r)) / std(r),    std over the G rewards (population)              (RLAD, Eq. 1)
    J = mean_i mean_t min(rho A_i, clip(rho, 1 - eps, 1 + eps) A_i) - beta KL(pi || pi_ref)
    rho_t = pi(y_t) / pi_old(y_t)

Symbols: eps -> `clip_low`, `clip_high`; beta -> `kl_beta`; rho -> exp(log pi - anchor). DAPO (Yu et al. 2025,
arXiv:2503.14476) raises the upper bound (`clip_high=0.28`) and averages over tokens (`aggregation="token"`).

A setting left at its default has no opinion: `grpo(clip_high=0.2) | rlad(t)` takes RLAD's 0.28.

Differs from the paper: a small `epsilon` is added to the deviation, and a group of equal rewards gives exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from posttrain.rl.batch import Credit, Live, Row, Sampler, Table, Task
from posttrain.rl.math import Aggregation, Spread, group_advantages, kl
from posttrain.rl.method import Method, Settings


async def answer(
    tasks: Sequence[Task], prompts: Sequence[list[int]], sampler: Sampler, skills: Sequence[int] | None = None
) -> list[Row]:
    """One completion per task, sampled after its prompt's ids; `Row.prompt` stays the task's own.

    Args:
        tasks: B of them.
        prompts: B lists of token ids.
        sampler: Samples.
        skills: B skills that the prompts name, from 1; None for none.
    """
    samples = await sampler(prompts)
    return [
        Row(
            prompt_ids=prompt,
            ids=sample.ids,
            group=task.group,
            task=task.row,
            prompt=task.prompt,
            completion=sampler.decode(sample.ids),
            logps=sample.logps,
            skill=skill,
        )
        for task, prompt, sample, skill in zip(tasks, prompts, samples, skills or [0] * len(tasks), strict=True)
    ]


@dataclass(frozen=True)
class GRPO(Method):
    """The defaults of every recipe; it fills all hooks that a method may leave out."""

    name = "grpo"
    paper = "Shao et al. 2024, arXiv:2402.03300"

    clip_low: float = 0.2
    """The ratio's lower bound is 1 - clip_low."""
    clip_high: float = 0.2
    """The ratio's upper bound is 1 + clip_high (DAPO: 0.28)."""
    dual_clip: float = 0.0
    """Upper bound of the ratio where the advantage is negative; 0 for none (commonly 3)."""
    aggregation: Aggregation = "sequence"
    """`sequence`: mean per completion, then over completions; `token`: mean over all tokens (DAPO)."""
    kl_beta: float = 0.0
    """Weight of the k3 KL to the reference policy."""
    spread: Spread = "population"
    """Which standard deviation divides: `population`, `sample` or `none` (Dr. GRPO)."""
    epsilon: float = 1e-6
    """Added to the standard deviation."""

    def __post_init__(self) -> None:
        _ = self.settings
        if self.spread not in ("population", "sample", "none"):
            raise ValueError(f"spread={self.spread!r} is unknown; use 'population', 'sample' or 'none'.")
        if not self.epsilon >= 0:
            raise ValueError(f"epsilon={self.epsilon} must not be negative; the default is 1e-6.")

    @property
    def settings(self) -> Settings:
        """All of them: GRPO leaves nothing open."""
        return Settings(self.clip_low, self.clip_high, self.dual_clip, self.aggregation, self.kl_beta)

    async def rollout(self, tasks: Sequence[Task], sampler: Sampler, state: Any) -> list[Row]:
        """One completion per task."""
        return await answer(tasks, [sampler.encode(task.prompt) for task in tasks], sampler)

    def credit(self, table: Table, state: Any) -> Credit:
        """A_i, (B,)."""
        return Credit(group_advantages(table.rewards, table.group, spread=self.spread, epsilon=self.epsilon))

    def anchor(self, live: Live) -> Tensor:
        """The sampling policy's log-probabilities, (B, T)."""
        return live.logp_old

    def reference_kl(self, live: Live) -> Tensor:
        """k3 estimate of KL(pi || pi_ref), (B, T); engines that have a KL of their own use theirs."""
        if live.logp_ref is None:
            raise ValueError("kl_beta is above 0, but no reference log-probabilities were given; set Live.logp_ref.")
        return kl(live.logp, live.logp_ref, "k3")


@dataclass(frozen=True)
class EngineDefault(GRPO):
    """What TRL 1.16 does when nobody says anything: sample deviation, epsilon 1e-4, token mean.

    Two differences stay: a group of equal rewards gives exactly 0, where TRL leaves rounding noise, and a row that
    misses one of several rewards is unscored, where TRL adds up the others.
    """

    name = "engine_default"
    paper = "TRL 1.16"

    aggregation: Aggregation = "token"
    """TRL's `loss_type="dapo"`."""
    spread: Spread = "sample"
    """Divides by G - 1."""
    epsilon: float = 1e-4
    """Added to the standard deviation."""
