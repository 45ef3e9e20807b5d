"""HGPO's credit beside the same written row by row in Python, and beside the authors' function.

The sides take turns on one batch: 8 episodes a task, 30 to 48 turns each, observations of some 600 characters that
repeat, 10 for a won episode and -0.1 for a bad turn. Returns are part of the time on all sides. Every call gets new
string objects, whose hashes nobody has asked for yet, as an environment makes them.

The authors' function is not part of this project: `POSTTRAIN_HGPO_REFERENCE` is the path of a `core_hgpo.py`, which
their repository langfengQ/verl-agent has in recipe/hgpo.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.step_time import ratio
from posttrain.rl.hierarchy import hierarchy_credit

DEPTH, GAMMA, EPSILON, CHARACTERS = 4, 0.95, 1e-6, 600
REFERENCE = "POSTTRAIN_HGPO_REFERENCE"


class Batch(NamedTuple):
    """What one generation hands over."""

    states: list[str]
    episodes: list[str]
    tasks: list[str]
    rewards: Tensor

    def fresh(self) -> Batch:
        """The same texts in new objects."""
        return self._replace(states=[state.encode().decode() for state in self.states])


def measure(pairs: int = 7) -> dict[str, Any]:
    """The ratios and their bounds, seconds for a large batch, and how far the sides are apart."""
    torch.set_num_threads(1)
    middle, small, large = batch(5_000), batch(1_000), batch(100_000)
    found: dict[str, Any] = {
        "credit_over_python": _ratio(ours, by_rows, middle, pairs) | {"at_most": 0.2},
        "credit_over_python_1000": _ratio(ours, by_rows, small, pairs),
        "credit_over_authors": {"skipped": f"set {REFERENCE} to the path of core_hgpo.py"},
        "python_difference": _difference(ours(middle), by_rows(middle)),
        "seconds_100000": round(statistics.median(_seconds(ours, large) for _ in range(pairs)), 4),
        "seconds_100000_at_most": 1.0,
        "setting": f"depth {DEPTH}; 5,000 rows in {len(set(middle.tasks))} tasks, or as many as the key says; "
        f"{pairs} pairs, one thread",
    }
    path = os.environ.get(REFERENCE)
    if path:
        authors = _authors(Path(path))
        found["credit_over_authors"] = _ratio(ours, authors, middle, pairs) | {"at_most": 0.01}
        found["credit_over_authors_1000"] = _ratio(ours, authors, small, pairs)
        noisy = small._replace(rewards=torch.randn(1_000, generator=torch.Generator().manual_seed(0)))
        found["authors_difference"] = _difference(as_released(noisy), authors(noisy))
    return found


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most; the authors' function only where it is at hand."""
    titles = {
        "credit_over_python": "HGPO's credit, 5,000 turns / per-row Python",
        "credit_over_authors": "HGPO's credit, 5,000 turns / its authors' function",
    }
    shown = {key: title for key, title in titles.items() if "skipped" not in found[key]}
    return [
        *((title, found[key]["median"], found[key]["at_most"]) for key, title in shown.items()),
        ("HGPO's credit, seconds for 100,000 turns", found["seconds_100000"], found["seconds_100000_at_most"]),
    ]


def batch(rows: int, seed: int = 0) -> Batch:
    """A walk through look-alike rooms; each task has 30 of them."""
    rng = random.Random(seed)
    found: tuple[list[str], list[str], list[str], list[float]] = ([], [], [], [])
    episode = 0
    while len(found[0]) < rows:
        room, turns, won = rng.randrange(30), rng.randint(30, 48), rng.random() < 0.5
        for turn in range(turns):
            reward = 10.0 * (won and turn == turns - 1) - 0.1 * (rng.random() < 0.1)
            text = f"You are in room {room}. ".ljust(CHARACTERS, "x")
            for column, value in zip(found, (text, f"episode {episode}", f"task {episode // 8}", reward), strict=True):
                column.append(value)
            room = (room + rng.choice([-1, 0, 1, 1])) % 30
        episode += 1
    states, episodes, tasks, rewards = (column[:rows] for column in found)
    return Batch(states, episodes, tasks, torch.tensor(rewards))


def ours(rows: Batch) -> Tensor:
    """The paper's credit."""
    return hierarchy_credit(*rows, depth=DEPTH, gamma=GAMMA, epsilon=EPSILON)


def as_released(rows: Batch) -> Tensor:
    """The released code's credit."""
    return hierarchy_credit(*rows, depth=DEPTH, gamma=GAMMA, epsilon=EPSILON, weight_offset=2, drop="member")


def by_rows(rows: Batch) -> Tensor:
    """The paper's credit in plain Python: no tensor and no array inside, states as numbers, one dict per level."""
    rewards, returns = rows.rewards.tolist(), [0.0] * len(rows.states)
    numbers: dict[str, int] = {}
    states = [numbers.setdefault(state, len(numbers)) for state in rows.states]
    paths: dict[str, list[int]] = {}
    for row, episode in enumerate(rows.episodes):
        paths.setdefault(episode, []).append(row)
    for path in paths.values():
        value = 0.0
        for row in reversed(path):
            value = returns[row] = rewards[row] + GAMMA * value
    total, weights = [0.0] * len(states), [0.0] * len(states)
    for k in range(DEPTH + 1):
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for path in paths.values():
            task, codes = rows.tasks[path[0]], [states[row] for row in path]
            for place in range(k, len(path)):
                groups[task, *codes[place - k : place + 1]].append(path[place])
        for members in groups.values():
            values = [returns[row] for row in members]
            if max(values) - min(values) <= 1e-9:
                continue
            mean = sum(values) / len(values)
            deviation = (sum([(v - mean) ** 2 for v in values]) / len(values)) ** 0.5 + EPSILON
            for row, value in zip(members, values, strict=True):
                total[row] += (k + 1) * (value - mean) / deviation
                weights[row] += k + 1
    return torch.tensor([t / w if w else 0.0 for t, w in zip(total, weights, strict=True)])


def _authors(path: Path) -> Callable[[Batch], Tensor]:
    """The function at `path`, which imports one name of verl for an annotation, behind the others' signature."""
    spec = importlib.util.spec_from_file_location("core_hgpo", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{REFERENCE}={path} is no Python file.")
    core, verl = importlib.util.module_from_spec(spec), ModuleType("verl")
    verl.__dict__["DataProto"] = object
    with mock.patch.dict(sys.modules, verl=verl):
        spec.loader.exec_module(core)

    def credit(rows: Batch) -> Tensor:
        ones, episodes = torch.ones(len(rows.states), 1), np.array(rows.episodes, dtype=object)
        columns = {"rewards": rows.rewards.numpy(), "traj_uid": episodes, "active_masks": np.ones(len(episodes))}
        data = SimpleNamespace(non_tensor_batch=columns, batch={"input_ids": ones})
        with contextlib.redirect_stdout(io.StringIO()):
            returns = core.compute_step_discounted_returns(data, GAMMA)
        advantages, _ = core.compute_hgpo_outcome_advantage(
            torch.zeros_like(ones), returns, ones, np.array(rows.states, dtype=object),
            np.array(rows.tasks, dtype=object), episodes, DEPTH, epsilon=EPSILON,
        )  # fmt: skip
        return advantages[:, 0]

    return credit


def _ratio(
    first: Callable[[Batch], Tensor], second: Callable[[Batch], Tensor], rows: Batch, pairs: int
) -> dict[str, float]:
    """Ratios of the times of pairs, after one that does not count, and the medians in seconds."""
    seconds = [(_seconds(first, rows), _seconds(second, rows)) for _ in range(pairs + 1)][1:]
    ours, theirs = ([pair[side] for pair in seconds] for side in (0, 1))
    medians = {"ours_seconds": statistics.median(ours), "theirs_seconds": statistics.median(theirs)}
    return ratio(ours, theirs) | {name: round(value, 5) for name, value in medians.items()}


def _seconds(function: Callable[[Batch], Tensor], rows: Batch) -> float:
    """Seconds of one call."""
    rows = rows.fresh()
    start = time.perf_counter()
    function(rows)
    return time.perf_counter() - start


def _difference(first: Tensor, second: Tensor) -> float:
    """The largest one, to two digits."""
    return float(f"{(first - second).abs().max().item():.1e}")
