"""Every number we print comes with its n: means, intervals and paired differences over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


def bootstrap(values: Sequence[float], *, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """The mean of `values` with a percentile bootstrap interval.

    Args:
        values: One per seed; at least 2 for an interval, which is the mean itself for 1.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.
    """
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        raise ValueError("There is nothing to average; give at least one value.")
    indices = np.random.default_rng(seed).integers(0, array.size, (draws, array.size))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(array[indices].mean(axis=1), [tail, 100 - tail])
    return Interval(float(array.mean()), float(low), float(high), int(array.size))


class Paired(NamedTuple):
    """How one arm does against another on the same seeds."""

    difference: Interval
    """First minus second."""
    wins: int
    """Seeds on which the first is larger."""


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """The difference of two arms, seed by seed, with its interval."""
    if len(first) != len(second):
        raise ValueError(f"Paired arms need the same seeds; got {len(first)} and {len(second)} values.")
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    return Paired(bootstrap(gaps), sum(gap > 0 for gap in gaps))


def auc(steps: Sequence[float], values: Sequence[float]) -> float:
    """Area under a curve divided by its width: the mean height between the first step and the last."""
    if len(steps) < 2:
        raise ValueError(f"An area needs at least two points; got {len(steps)}.")
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))
