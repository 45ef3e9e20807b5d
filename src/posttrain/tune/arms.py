"""Subsets of q, k, v, o with the same number of trained weights, each at its own best learning rate.

With grouped-query attention `v_proj` is several times smaller than `q_proj`, so that equal rank is not equal capacity,
and an arm that moves less forgets less at any method. A rank-r adapter of m outputs and d inputs trains r (d + m)
weights; each arm gets ranks for which the sum over its modules is as near to one budget as ranks allow.

The learning rate of each arm is chosen on seeds of their own, and what is reported is measured on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from posttrain import stats
from posttrain.bench.resume import kept_rows
from posttrain.files import append_line
from posttrain.projections import Part, Projection
from posttrain.tune.rows import Size, sizes
from posttrain.tune.values import ValueOnly

SUBSETS: dict[str, tuple[Part, ...]] = {
    "v": ("v",),
    "q": ("q",),
    "k": ("k",),
    "o": ("o",),
    "q k": ("q", "k"),
    "v o": ("v", "o"),
    "q k v o": ("q", "k", "v", "o"),
}


class Arm(NamedTuple):
    """A subset with its ranks."""

    name: str
    parts: tuple[Part, ...]
    ranks: dict[str, int]
    """Module to rank."""
    parameters: int
    """Weights that are trained."""

    def settings(self) -> ValueOnly:
        """For `ValueOnlyTrainer`."""
        rank = min(self.ranks.values())
        return ValueOnly(parts=self.parts, rank=rank, ranks=self.ranks)


def equal_arms(
    model: nn.Module,
    projections: Sequence[Projection],
    subsets: Mapping[str, Sequence[Part]] | None = None,
    *,
    rank: int = 8,
    budget: int | None = None,
) -> list[Arm]:
    """Arms that train as nearly the same number of weights as ranks allow.

    Args:
        model: The model of the projections.
        projections: Of `attention(model)`.
        subsets: Names to parts; `SUBSETS` by default.
        rank: Of the values alone; the budget is what they train with it.
        budget: A number of weights instead.

    Raises:
        ValueError: The budget is below rank 1 of an arm, or beyond all freedom that it has.
    """
    if budget is None:
        budget = rank * sum(size.per_rank for size in sizes(model, projections).values())
    arms = []
    for name, parts in (subsets or SUBSETS).items():
        of = sizes(model, projections, parts)
        ranks = _ranks(name, of, budget)
        arms.append(Arm(name, tuple(parts), ranks, sum(ranks[each] * size.per_rank for each, size in of.items())))
    return arms


def _ranks(arm: str, of: Mapping[str, Size], budget: int) -> dict[str, int]:
    """Ranks of an arm's modules, equal up to 1 where none is full, whose weights come nearest to the budget."""
    least, most = sum(s.per_rank for s in of.values()), sum(s.per_rank * s.most for s in of.values())
    if not least <= budget <= most:
        raise ValueError(
            f"The arm {arm!r} trains between {least} and {most} weights by rank, and {budget} are asked for; choose a "
            "rank or a budget that all arms can have."
        )
    ranks = dict.fromkeys(of, 1)
    left = budget - least
    grown = True
    while grown:
        grown = False
        for name, size in of.items():
            if ranks[name] < size.most and size.per_rank <= left:
                ranks[name], left, grown = ranks[name] + 1, left - size.per_rank, True
    open_modules = [name for name, size in of.items() if ranks[name] < size.most]
    nearest = min(open_modules, key=lambda name: (of[name].per_rank, ranks[name]), default=None)
    if nearest is not None and of[nearest].per_rank - left < left:
        ranks[nearest] += 1
    return ranks


@dataclass(frozen=True)
class Sweep:
    """Learning rates, and on which seeds they are chosen and measured."""

    learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
    """Of each arm (the paper tries five, which it does not name)."""
    choosing: tuple[int, ...] = (0, 1)
    """Seeds of the choice."""
    measuring: tuple[int, ...] = (10, 11, 12, 13, 14)
    """Seeds of what is reported, with the chosen rate."""

    def __post_init__(self) -> None:
        if not self.learning_rates or not all(rate > 0 for rate in self.learning_rates):
            raise ValueError(f"learning_rates={self.learning_rates} must be numbers above 0, one at least.")
        if not self.choosing or not self.measuring:
            raise ValueError("choosing and measuring need a seed each, at least.")
        if both := set(self.choosing) & set(self.measuring):
            raise ValueError(f"The seeds {sorted(both)} choose and measure; a rate must be measured on other seeds.")


class Swept(NamedTuple):
    """An arm at its own learning rate."""

    arm: Arm
    learning_rate: float
    at_edge: bool
    """The best rate is the smallest or the largest that was tried: try more."""
    chosen_by: dict[float, float]
    """Rate to the mean of the measure that chose."""
    measured: dict[str, stats.Interval]
    """Measure to its mean over the measuring seeds."""


Run = Callable[[Arm, float, int], Mapping[str, float]]


def sweep(
    arms: Sequence[Arm],
    run: Run,
    config: Sweep,
    *,
    choose_by: str,
    rows: Path,
    head: Mapping[str, object] | None = None,
    show: Callable[[str], None] | None = None,
) -> list[Swept]:
    """Each arm at the learning rate that is best for it.

    Args:
        arms: To compare.
        run: Trains an arm at a rate with a seed, and gives its measures, `choose_by` among them.
        config: Rates and seeds.
        choose_by: The measure that chooses, larger is better; NaN is worst.
        rows: A JSONL file of all runs; a killed sweep goes on there.
        head: What the runs are of, for that file.
        show: Called after each run with a line.
    """
    names = [arm.name for arm in arms]
    kept = kept_rows(rows, {**(head or {}), "sweep": _plain(config), "arms": names}, "runs of another {other}")

    def measured(arm: Arm, rate: float, seed: int) -> dict[str, float]:
        key = f"{arm.name}, {rate:g}, seed {seed}"
        if key not in kept:
            kept[key] = {"key": key, "measures": dict(run(arm, rate, seed)), "error": ""}
            append_line(rows, kept[key])
        if show is not None:
            show(f"{key}: {choose_by} {kept[key]['measures'][choose_by]:.4g}")
        return kept[key]["measures"]

    return [_swept(arm, measured, config, choose_by) for arm in arms]


def _swept(arm: Arm, measured: Callable[[Arm, float, int], dict[str, float]], config: Sweep, choose_by: str) -> Swept:
    """One arm: choose on some seeds, measure on the others."""
    by_rate = {}
    for rate in config.learning_rates:
        values = [measured(arm, rate, seed)[choose_by] for seed in config.choosing]
        by_rate[rate] = -math.inf if any(math.isnan(value) for value in values) else sum(values) / len(values)
    best = max(config.learning_rates, key=by_rate.__getitem__)
    edge = len(by_rate) > 1 and best in (min(by_rate), max(by_rate))
    found = [measured(arm, best, seed) for seed in config.measuring]
    intervals = {name: stats.bootstrap([each[name] for each in found]) for name in found[0]}
    return Swept(arm, best, edge, by_rate, intervals)


def _plain(config: Sweep) -> dict[str, object]:
    """As JSON gives it back."""
    return {name: list(value) for name, value in asdict(config).items()}
