"""Safety units: outputs of a projection that rise on harmful prompts (Liang et al. 2026, arXiv:2602.22554, App. B).

With a_j the output of unit j of one layer's projection at the chosen token, over harmful and over harmless prompts:

    Delta_j = mean a_j(harmful) - mean a_j(harmless)
    z_j = (Delta_j - mu) / sigma        mu, sigma over the units of the layer, sigma of the population
    d_j = Delta_j / s_j                 Cohen's d, s_j the pooled deviation of both samples
    S = {j: z_j > 2} + {j: d_j > 1}     (union)

Differs from the paper: s_j has a floor, so that a unit that never varies has d = 0 rather than 0/0, and other rules are
options: either of the two alone, both together, and the weights of a linear probe (as NeuroStrike has it), z-scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Rule = Literal["union", "both", "magnitude", "effect", "probe"]
RULES = ("union", "both", "magnitude", "effect", "probe")
FLOOR = 1e-6
"""Of a unit's pooled deviation, as a share of the layer's mean deviation."""


@dataclass(frozen=True)
class UnitRule:
    """Which units are taken."""

    rule: Rule = "union"
    """The paper's union of both thresholds; `both`, one of them, or a linear `probe`."""
    tau_mag: float = 2.0
    """Units whose z-score is above this (App. B)."""
    tau_stat: float = 1.0
    """Units whose Cohen's d is above this (App. B)."""
    probe_ridge: float = 1.0
    """Of the probe, in units of the mean energy of a standardised unit; its weights are held to `tau_mag`."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r} is unknown; use {', '.join(RULES)}.")
        if not self.probe_ridge > 0:
            raise ValueError(f"probe_ridge={self.probe_ridge} must be above 0; a probe of many units needs one.")


class Units(NamedTuple):
    """The units of one projection."""

    chosen: Tensor
    """S: (m,) int64, rising."""
    z: Tensor
    """(units,) float64."""
    d: Tensor
    """(units,) float64."""


def safety_units(harmful: Tensor, harmless: Tensor, rule: UnitRule | None = None) -> Units:
    """The units that rise on harmful prompts.

    Args:
        harmful: Outputs of the projection, (N, units), at least 2 prompts.
        harmless: The same on harmless prompts, (M, units).
        rule: The paper's by default.

    Raises:
        ValueError: The shapes do not fit, there are fewer than two prompts of a kind, or a number is not finite.
    """
    rule = rule or UnitRule()
    harmful, harmless = _outputs("harmful", harmful), _outputs("harmless", harmless)
    if harmful.shape[1] != harmless.shape[1]:
        raise ValueError(f"harmful has {harmful.shape[1]} units and harmless {harmless.shape[1]}; give one projection.")
    rise = harmful.mean(0) - harmless.mean(0)
    z, d = scores(rise, pooled(harmful, harmless))
    large, clear = z > rule.tau_mag, d > rule.tau_stat
    chosen = {
        "union": large | clear,
        "both": large & clear,
        "magnitude": large,
        "effect": clear,
    }
    if rule.rule == "probe":
        weights = probe(harmful, harmless, rule.probe_ridge)
        taken = standard(weights) > rule.tau_mag
    else:
        taken = chosen[rule.rule]
    return Units(taken.nonzero()[:, 0], z, d)


def scores(rise: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """The z-score and Cohen's d of each unit, (units,) each, from its rise and its pooled deviation."""
    least = FLOOR * float(deviation.mean())
    d = torch.where(rise == 0, torch.zeros_like(rise), rise / deviation.clamp(min=max(least, 1e-300)))
    return standard(rise), d


def standard(values: Tensor) -> Tensor:
    """z-scores over units, with the deviation of the population; 0 where all are equal."""
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if float(spread) > 0 else torch.zeros_like(values)


def pooled(first: Tensor, second: Tensor) -> Tensor:
    """The pooled standard deviation of each unit, (units,), with n - 1 in each sample."""
    squares = (first - first.mean(0)).square().sum(0) + (second - second.mean(0)).square().sum(0)
    return (squares / (len(first) + len(second) - 2)).sqrt()


def probe(harmful: Tensor, harmless: Tensor, ridge: float) -> Tensor:
    """Weights of a ridge classifier on standardised units, (units,): 1 for harmful, -1 for harmless."""
    inputs = torch.cat([harmful, harmless])
    spread = inputs.std(0)
    inputs = (inputs - inputs.mean(0)) / spread.clamp(min=max(FLOOR * float(spread.mean()), 1e-300))
    signs = torch.cat([inputs.new_ones(len(harmful)), -inputs.new_ones(len(harmless))])
    signs = signs - signs.mean()
    inner = inputs @ inputs.T
    inner.diagonal().add_(ridge * max(float(inner.diagonal().mean()), 1e-300))
    return inputs.T @ torch.linalg.solve(inner, signs)


def jaccard(units: Mapping[str, Tensor]) -> dict[tuple[str, str], float]:
    """The share of units that two languages have in common, |A and B| / |A or B|, for each pair; 1 for two empty sets.

    Args:
        units: Languages to their units, (m,) each.
    """
    sets = {name: set(index.tolist()) for name, index in units.items()}
    return {
        (a, b): len(sets[a] & sets[b]) / len(sets[a] | sets[b]) if sets[a] | sets[b] else 1.0
        for a, b in combinations(sets, 2)
    }


def _outputs(name: str, value: Tensor) -> Tensor:
    if value.ndim != 2 or len(value) < 2:
        raise ValueError(f"{name} has the shape {tuple(value.shape)}; expected (prompts, units), 2 prompts or more.")
    value = value.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(value).all()):
        row = int((~torch.isfinite(value)).any(1).nonzero()[0])
        raise ValueError(f"Prompt {row} of {name} has an output that is not finite; leave it out.")
    return value
