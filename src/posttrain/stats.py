"""Every number we print comes with its n: intervals and paired differences over seeds, shares over attempts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import NormalDist
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


def grouped(groups: Sequence[Sequence[float]], *, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """The mean of all values, with a percentile bootstrap interval that draws whole groups.

    Values of one group, such as the questions about one log, hang together; `n` is the number of groups.

    Args:
        groups: Empty ones are left out.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.
    """
    counted = [group for group in groups if len(group)]
    if not counted:
        raise ValueError("There is nothing to average; give at least one group with a value.")
    sums, sizes = np.array([sum(group) for group in counted], float), np.array([len(group) for group in counted], float)
    indices = np.random.default_rng(seed).integers(0, len(counted), (draws, len(counted)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(sums[indices].sum(axis=1) / sizes[indices].sum(axis=1), [tail, 100 - tail])
    return Interval(float(sums.sum() / sizes.sum()), float(low), float(high), len(counted))


def wilson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """A share of n independent tries with its Wilson score interval, which is honest at 0 and at n too.

    Args:
        successes: From 0 to n.
        n: At least 1.
        level: Coverage.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no share; give at least one try, and no more successes than tries.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = successes / n, z * z / n
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return Interval(share, (middle - half) / (1 + spread), (middle + half) / (1 + spread), n)


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


def pass_at_k(correct: Sequence[Sequence[float]], k: int) -> float:
    """The mean over questions of the chance that at least one of k attempts is right.

    Without bias from n >= k attempts with c right ones: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021,
    arXiv:2107.03374, Eq. 1). k = 1 is the share of right attempts, k = n whether any is right.

    Args:
        correct: Per question its attempts, 1 right, 0 wrong; questions may differ in their number.
        k: From 1 to the smallest number of attempts.
    """
    _check_judged(correct)
    fewest = min(len(attempts) for attempts in correct)
    if not 1 <= k <= fewest:
        raise ValueError(f"k={k} must lie between 1 and {fewest}, the fewest attempts at a question.")
    missed = [math.comb(len(a) - int(sum(a)), k) / math.comb(len(a), k) for a in correct]
    return 1 - sum(missed) / len(missed)


def plurality(answers: Sequence[Sequence[Hashable]], truths: Sequence[Hashable]) -> float:
    """The share of questions whose single most frequent answer is the truth; a tie for the first place is wrong.

    Args:
        answers: Per question its attempts' answers, in one normal form; an answer that could not be read is a value
            like any other.
        truths: One per question, in the same form.
    """
    _check_attempts(answers)
    if len(answers) != len(truths):
        raise ValueError(f"There are {len(answers)} questions and {len(truths)} truths; give one truth each.")
    right = 0
    for given, truth in zip(answers, truths, strict=True):
        first, *second = Counter(given).most_common(2)
        right += first[0] == truth and (not second or second[0][1] < first[1])
    return right / len(answers)


def consensus(correct: Sequence[Sequence[float]]) -> float:
    """The share of questions of whose attempts more than half are right.

    Args:
        correct: Per question its attempts, 1 right, 0 wrong.
    """
    _check_judged(correct)
    return sum(2 * sum(attempts) > len(attempts) for attempts in correct) / len(correct)


def _check_attempts(questions: Sequence[Sequence[object]]) -> None:
    """Raise unless there are questions, with an attempt at each."""
    if not len(questions) or not all(len(attempts) for attempts in questions):
        raise ValueError("There is no question, or one without an attempt; give at least one of each.")


def _check_judged(correct: Sequence[Sequence[float]]) -> None:
    """Raise unless every question has attempts and each is 0 or 1."""
    _check_attempts(correct)
    for value in (value for attempts in correct for value in attempts):
        if value not in (0, 1):
            raise ValueError(f"An attempt is judged {value}, but must be 0 or 1; leave out what could not be judged.")
