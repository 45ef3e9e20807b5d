"""The arithmetic that every method shares: pure functions on tensors.

Axes: B rows, T completion tokens. All log-probabilities are natural.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Spread = Literal["population", "sample", "none"]
Aggregation = Literal["sequence", "token"]
Estimator = Literal["k1", "k2", "k3"]


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of `values` where `mask` is non-zero; 0 where the mask is empty.

    Args:
        values: Any shape; values under a zero mask may be anything, NaN included.
        mask: Same shape, 0 or 1.
        dim: Axis to average over; None for all.
    """
    kept = torch.where(mask.bool(), values, torch.zeros_like(values))
    weight = mask.to(values.dtype)
    if dim is None:
        return kept.sum() / weight.sum().clamp(min=1)
    return kept.sum(dim) / weight.sum(dim).clamp(min=1)


def group_advantages(rewards: Tensor, group: Tensor, *, spread: Spread = "population", epsilon: float = 1e-6) -> Tensor:
    """Rewards minus their group's mean, divided by their group's standard deviation plus `epsilon`.

    A group whose scored rewards are all equal gives exactly 0 in any float type, because equality is tested on
    the rewards themselves and not on a rounded deviation. A group of one gives 0.

    Args:
        rewards: (B,), NaN where unscored; those rows get 0 and do not enter the statistics.
        group: (B,) long labels, in any order.
        spread: `population` divides by G, `sample` by G - 1, `none` only subtracts the mean.
        epsilon: Added to the standard deviation.

    Returns:
        (B,) in the rewards' float type.
    """
    scored = ~torch.isnan(rewards)
    _, index = torch.unique(group, return_inverse=True)
    groups = int(index.max()) + 1 if index.numel() else 0
    wide = rewards.to(torch.promote_types(rewards.dtype, torch.float32))  # squares leave float16's range
    values = torch.where(scored, wide, torch.zeros_like(wide))
    low, high, mean, count = _group_moments(values, scored, index, groups)
    centred = torch.where(scored, values - mean[index], torch.zeros_like(values))
    if spread != "none":
        variance = torch.zeros_like(mean).index_add_(0, index, centred.square()) / count.clamp(min=1)
        if spread == "sample":
            variance = variance * (count / (count - 1).clamp(min=1))
        deviation = variance.sqrt()
        centred = centred / (deviation[index] + epsilon)
    return torch.where(scored & (low != high)[index], centred, torch.zeros_like(centred)).to(rewards.dtype)


def _group_moments(values: Tensor, scored: Tensor, index: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Smallest, largest, mean and count of the scored values of each group, (groups,) each."""
    infinity = torch.full((groups,), float("inf"), dtype=values.dtype, device=values.device)
    low = infinity.scatter_reduce(0, index, torch.where(scored, values, float("inf")), "amin")
    high = (-infinity).scatter_reduce(0, index, torch.where(scored, values, float("-inf")), "amax")
    zeros = torch.zeros_like(infinity)
    count = zeros.index_add(0, index, scored.to(values.dtype))
    mean = zeros.index_add(0, index, values) / count.clamp(min=1)
    return low, high, mean, count


def group_any(flags: Tensor, group: Tensor) -> Tensor:
    """(B,) float: 1 where any row of the row's group has a flag of 1; NaN flags count as 0."""
    return group_max(torch.nan_to_num(flags, nan=0.0), group)


def group_max(values: Tensor, group: Tensor) -> Tensor:
    """(B,) the largest of 0 and the values (B,) of the row's group."""
    _, index = torch.unique(group, return_inverse=True)
    groups = int(index.max()) + 1 if index.numel() else 0
    best = torch.zeros(groups, dtype=values.dtype, device=values.device).scatter_reduce(0, index, values, "amax")
    return best[index]


def positive(rewards: Tensor) -> Tensor:
    """1 where a reward is above 0, else 0; NaN where it is missing. What is correct where nothing else says so."""
    return torch.where(rewards.isnan(), rewards, (rewards > 0).to(rewards.dtype))


class Surrogate(NamedTuple):
    """The clipped policy term and where its gradient is gone."""

    objective: Tensor
    """(B, T), to be maximised."""
    vetoed: Tensor
    """(B, T) bool: tokens with a non-zero advantage and no gradient."""


def clipped_surrogate(
    log_ratio: Tensor,
    advantages: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Surrogate:
    """PPO's pessimistic objective min(r A, clip(r, 1 - low, 1 + high) A), with r = exp(log_ratio).

    Args:
        log_ratio: (B, T) log pi - log anchor, with gradient.
        advantages: (B, T), broadcastable.
        clip_low: Lower bound is 1 - clip_low.
        clip_high: Upper bound is 1 + clip_high.
        dual_clip: If given, r is bounded from above by it first (bounds A < 0); must exceed 1 + clip_high.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    vetoed = ((advantages > 0) & (ratio > 1 + clip_high)) | ((advantages < 0) & (ratio < 1 - clip_low))
    if dual_clip is not None:
        vetoed = vetoed | ((advantages < 0) & (ratio > dual_clip))
        ratio = ratio.clamp(max=dual_clip)
    return Surrogate(torch.min(ratio * advantages, clipped * advantages), vetoed)


@dataclass(frozen=True)
class Normalizer:
    """By what a sum over one micro-batch is divided so that an optimiser step is a mean.

    An engine that splits a step into micro-batches or ranks gives the whole step's numbers, so the split does
    not change the gradient.
    """

    rows: Tensor | float
    """Rows of the whole step, unscored ones included, as TRL counts them; used by `sequence`."""
    tokens: Tensor | float
    """Trained tokens of the whole step; used by `token`."""

    @classmethod
    def of(cls, mask: Tensor) -> Normalizer:
        """The numbers of a micro-batch that is a whole step by itself; mask (B, T)."""
        return cls(rows=float(mask.shape[0]), tokens=mask.sum().clamp(min=1))


def over_tokens(term: Tensor, mask: Tensor) -> Tensor:
    """A term per row (B,) as one per token (B, T); a term per token as it is."""
    return term.unsqueeze(-1).expand_as(mask) if term.dim() == 1 else term


def aggregate(per_token: Tensor, mask: Tensor, how: Aggregation, normalizer: Normalizer) -> Tensor:
    """One number from a term per token (B, T), or per row (B,).

    `sequence`: mean over each row's tokens, then over rows (GRPO). `token`: mean over all tokens (DAPO). A term
    per row counts like a row whose tokens all carry it.
    """
    per_token = over_tokens(per_token, mask)
    if how == "sequence":
        return masked_mean(per_token, mask, dim=-1).sum() / normalizer.rows
    return torch.where(mask.bool(), per_token, torch.zeros_like(per_token)).sum() / normalizer.tokens


def kl(logp: Tensor, logp_target: Tensor, estimator: Estimator = "k3") -> Tensor:
    """Per-token estimate of KL(pi || target) at tokens sampled from pi, (B, T), in nats.

    With R = log target - log pi: k1 = -R (unbiased, its gradient is not the KL's), k2 = R^2 / 2 (its gradient on
    policy is the KL's), k3 = exp(R) - R - 1 (unbiased, never negative). Schulman, "Approximating KL divergence".
    """
    log_ratio = logp_target - logp
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    if estimator == "k3":
        return log_ratio.expm1() - log_ratio
    raise ValueError(f"Unknown KL estimator {estimator!r}; use 'k1', 'k2' or 'k3'.")


Annealing = Literal["cosine", "constant"]


def annealed(how: Annealing, step: int, total: int) -> float:
    """The factor of a weight at `step` of `total` optimiser steps, in [0, 1].

    `constant` is 1. `cosine` is (1 + cos(pi step / total)) / 2: 1 at step 0, 1/2 half way, 0 at the end and after it.
    """
    if how == "constant":
        return 1.0
    if total <= 0:
        raise ValueError(
            f"Cosine annealing needs the planned number of steps, but total_steps={total}; "
            "give the engine a number of steps, or use anneal='constant'."
        )
    return (1 + math.cos(math.pi * min(step, total) / total)) / 2
