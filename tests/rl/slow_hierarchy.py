"""HGPO's credit from the paper's equations, turn by turn in exact fractions; it shares no code with the package.

A float stands for the decimal that Python prints: 0.95 is 19/20. So returns that are equal on paper are equal here.
"""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any, NamedTuple


class Turns(NamedTuple):
    """A batch, as `hierarchy_credit` takes it; rewards as numbers."""

    states: list[Any]
    episodes: list[Any]
    tasks: list[Any]
    rewards: list[float]

    def pick(self, rows: list[int]) -> Turns:
        """These rows, in this order."""
        return Turns(*([column[i] for i in rows] for column in self))


def exact(number: float) -> Fraction:
    return Fraction(str(number))


def slow_returns(turns: Turns, gamma: float) -> list[Fraction | None]:
    """(1), summed forwards from each turn; None in an unscored episode."""
    found: list[Fraction | None] = []
    for row, episode in enumerate(turns.episodes):
        own = [r for r, e in zip(turns.rewards, turns.episodes, strict=True) if e == episode]
        place = turns.episodes[:row].count(episode)
        unscored = any(math.isnan(r) for r in own)
        terms = (exact(gamma) ** j * exact(r) for j, r in enumerate(own[place:])) if not unscored else ()
        found.append(None if unscored else sum(terms, Fraction(0)))
    return found


def slow_levels(turns: Turns, *, depth: int, gamma=0.95, norm="std", prefix="absent", epsilon=1e-6):
    """(2) to (4): per turn a dict from k to A_k; no entry where the turn lacks the level."""
    returns = slow_returns(turns, gamma)
    groups: dict[tuple, list[int]] = {}
    for row, episode in enumerate(turns.episodes):
        if returns[row] is None:
            continue
        path = [i for i in range(row + 1) if turns.episodes[i] == episode]
        for k in range(depth + 1):
            missing = k + 1 - len(path)
            if missing > 0 and prefix == "absent":
                continue
            context = (None,) * missing + tuple(turns.states[i] for i in path[-(k + 1) :])
            groups.setdefault((turns.tasks[row], k, context), []).append(row)
    levels: list[dict[int, float]] = [{} for _ in turns.states]
    for (_, k, _), members in groups.items():
        values = [returns[i] for i in members]
        if len(set(values)) == 1:
            continue
        mean = sum(values) / len(values)
        squares = sum((v - mean) ** 2 for v in values)
        divisor = {
            "std": math.sqrt(squares / len(values)) + epsilon,
            "sample": math.sqrt(squares / (len(values) - 1)) + epsilon,
            "mean": 1.0,
        }[norm]
        for i, value in zip(members, values, strict=True):
            levels[i][k] = float(value - mean) / divisor
    return levels


def slow_credit(turns: Turns, *, alpha=1.0, weight_offset=1, drop="group", **how) -> list[float]:
    """(5)."""
    found = []
    for levels in slow_levels(turns, **how):
        kept = {k: a for k, a in levels.items() if drop == "group" or a != 0}
        weights = {k: (k + weight_offset) ** alpha for k in kept}
        total = math.fsum(weights[k] * a for k, a in kept.items())
        found.append(total / math.fsum(weights.values()) if kept else 0.0)
    return found


def random_turns(seed: int, *, most: int = 60) -> Turns:
    """Interleaved episodes of 1 to 12 turns over few states, so that groups of every depth occur; a few unscored.

    Rewards are tenths, many of them 0, so that many returns are equal, some along different paths.
    """
    rng = random.Random(seed)
    tasks, kinds = rng.randint(1, 3), rng.randint(1, 4)
    left = {(task, e): rng.randint(1, 12) for task in range(tasks) for e in range(rng.randint(1, 6))}
    scored = {episode: rng.random() > 0.1 for episode in left}
    rows = Turns([], [], [], [])
    while any(left.values()) and len(rows.states) < most:
        episode = rng.choice([e for e, turns in left.items() if turns])
        left[episode] -= 1
        reward = rng.choice([0.0, 0.0, 0.0, 1.0, -0.1, rng.randint(-20, 20) / 10])
        unscored = not scored[episode] and rng.random() < 0.5
        row = (f"state {rng.randint(1, kinds)}", episode, f"task {episode[0]}", math.nan if unscored else reward)
        for column, value in zip(rows, row, strict=True):
            column.append(value)
    return rows
