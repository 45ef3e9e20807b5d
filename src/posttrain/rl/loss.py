"""The engine-free reference: the loss of a recipe on one micro-batch.

    L = aggregate( -min(rho A, clip(rho, 1 - low, 1 + high) A) + penalty + beta k3 )
    rho = exp(log pi - anchor(live)),  A = shape(live)

`engines/loop.py` trains on it directly; the other engines must agree with its gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from posttrain.rl.batch import Live
from posttrain.rl.math import Normalizer, Surrogate, aggregate, clipped_surrogate
from posttrain.rl.method import Settings
from posttrain.rl.recipe import Recipe


@dataclass(frozen=True)
class Mean:
    """A mean that can still be merged with those of other micro-batches and ranks."""

    total: Tensor
    count: Tensor


class Loss(NamedTuple):
    """What one micro-batch contributes."""

    value: Tensor
    """Scalar with gradient."""
    metrics: Mapping[str, Mean]
    """What to log."""


def policy_loss(recipe: Recipe, live: Live, normalizer: Normalizer | None = None) -> Loss:
    """The loss of `recipe` on `live`.

    Args:
        recipe: The methods.
        live: One micro-batch; rows whose `scored` column is 0 take no part.
        normalizer: The rows and tokens of the whole optimiser step; default: this micro-batch is the step.
    """
    live = without_unscored(live)
    normalizer = normalizer or Normalizer.of(live.mask)
    settings = recipe.settings
    advantages = recipe.shape(live)
    term = surrogate(settings, live.logp - recipe.anchor(live), advantages)
    per_token = -term.objective
    if (penalty := recipe.penalty(live)) is not None:
        per_token = per_token + penalty
    if settings.kl_beta:
        per_token = per_token + settings.kl_beta * recipe.base.reference_kl(live)
    value = aggregate(per_token, live.mask, settings.aggregation or "sequence", normalizer)
    return Loss(value, measure(recipe, live, advantages, term.vetoed))


def surrogate(settings: Settings, log_ratio: Tensor, advantages: Tensor) -> Surrogate:
    """The clipped policy term under resolved settings, (B, T)."""
    return clipped_surrogate(
        log_ratio,
        advantages,
        clip_low=settings.clip_low or 0.0,
        clip_high=settings.clip_high or 0.0,
        dual_clip=settings.dual_clip or None,
    )


def without_unscored(live: Live) -> Live:
    """The same micro-batch with the mask of unscored rows at 0, and no way for a gradient through a zero mask.

    Without the second, an infinite or NaN log-probability at a token that takes no part (padding, a tool's answer)
    would reach the weights as 0 x inf = NaN.
    """
    mask = live.mask * live.column("scored").to(live.mask.dtype) if "scored" in live.columns else live.mask
    logp = torch.where(mask.bool(), live.logp, 0.0)
    entropy = None if live.entropy is None else torch.where(mask.bool(), live.entropy, 0.0)
    return replace(live, mask=mask, logp=logp, entropy=entropy)


def row_means(told: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """Means of what `Recipe.diagnose_rows` said on each rank, NaN left out; a mean of nothing is not there."""
    known = {
        name: [value for ours in told for value in ours.get(name, ()) if value == value]
        for name in dict.fromkeys(name for ours in told for name in ours)
    }
    return {name: sum(values) / len(values) for name, values in known.items() if values}


@torch.no_grad()
def measure(recipe: Recipe, live: Live, advantages: Tensor, vetoed: Tensor) -> dict[str, Mean]:
    """Token means to log.

    `veto/positive` is the share of the tokens with A > 0 that get no gradient because the ratio is above the
    upper bound, `veto/negative` the share of those with A < 0 below the lower one. Methods add their own.
    """
    mask = live.mask.bool()
    wanted, unwanted = mask & (advantages > 0), mask & (advantages < 0)
    found = {
        "veto/positive": Mean((vetoed & wanted).sum(), wanted.sum()),
        "veto/negative": Mean((vetoed & unwanted).sum(), unwanted.sum()),
    }
    for name, values in recipe.diagnose(live).items():
        known = mask & ~values.isnan()
        found[name] = Mean(torch.where(known, values, torch.zeros_like(values)).sum(), known.sum())
    return found
