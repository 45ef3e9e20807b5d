"""The arithmetic of HGPO: hierarchy-of-groups credit (He et al. 2026, arXiv:2602.22817).

Turns are compared with turns of the same task that share their last k + 1 states. Shallow groups are large but mix
different histories (biased), deep ones are alike but small (noisy); the advantages of all depths are averaged:

    R_t = sum_j gamma^j r_{t+j}                                              step return           (1)
    C_k(t) = (s_{t-k}, ..., s_t)                                             context, k = 0 ... K  (2)
    G_k(t) = {turns of the same task, of any episode, whose C_k is C_k(t)}   group                 (3)
    A_k(t) = (R_t - mean_{G_k} R) / (std_{G_k} R + eps)                      level, or not divided (4)
    A(t) = sum_k w_k A_k / sum_k w_k,    w_k = (k + 1)^alpha                 credit                (5)

The sums of (5) run over the levels that t has. It lacks a level whose group has no two different returns (a group of
one never has), and one that reaches back before its episode's beginning. Without any level its credit is 0. Groups
are nested, G_k in G_{k-1}, because C_k(t) = (s_{t-k}, C_{k-1}(t)): each level only splits what the last one left.
G_0 alone is GiGPO's step term (Feng et al. 2025, arXiv:2505.10978), G_K alone the paper's oracle.

Symbols: r -> `rewards`, s -> `states`, K -> `depth`, eps -> `epsilon`, the 1 of w_k -> `weight_offset`; division in
(4) -> `norm`. Axes: N turns; the turns of an episode stand in time order, the episodes interleave in any way.

Differs from the paper: returns of a group that differ by no more than `TOLERANCE` are equal, so that rounding makes
no advantage. The paper's text leaves open what a skipped "zero-advantage group" is (here: `drop="group"`) and what
becomes of contexts that begin too early (`prefix="absent"`, as in the released code).
Differs from the released code: its weights are `weight_offset=2`, where the paper's are 1; it skips every turn that
lies exactly at its group's mean, `drop="member"`; it adds 1e-6 to the sum of weights; in float32 it gives turns of
equal returns an advantage of up to 0.66, because their mean is rounded; and its `base_group`, an episode-level term
that is off by default, is not here. GiGPO's released code divides by the sample deviation, `norm="sample"`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

Norm = Literal["std", "sample", "mean"]
Drop = Literal["group", "member"]
Prefix = Literal["absent", "pad"]
Numbers: TypeAlias = "Tensor | np.ndarray | Sequence[float]"
Labels: TypeAlias = "Sequence[Hashable] | Tensor | np.ndarray"

TOLERANCE = 1e-6
"""A deviation of this share of the root mean square of a group's returns, or less, is none."""


def hierarchy_credit(
    states: Labels, episode_ids: Labels, task_ids: Labels, rewards: Numbers, *,
    depth: int, alpha: float = 1.0, gamma: float = 0.95, norm: Norm = "std", weight_offset: int = 1,
    drop: Drop = "group", prefix: Prefix = "absent", epsilon: float = 1e-6,
) -> Tensor:  # fmt: skip
    """A of each turn: the weighted mean of its advantages among turns with the same last 1, ..., K + 1 states.

    Args:
        states: N hashable values, such as observation texts; equal values are one state.
        episode_ids: N labels; one episode's turns stand in time order and have one task.
        task_ids: N labels; turns of different tasks are never compared.
        rewards: (N,) of each turn alone; a tensor, an array or a list. NaN is unscored: its whole episode enters no
            group and gets 0.
        depth: K >= 0, how many earlier states a context reaches back; at most as far as the policy's prompt does.
        alpha: Power of the weights; 0 is the plain mean of the levels.
        gamma: Discount in [0, 1]; 0 takes `rewards` for the returns.
        norm: `std` divides by the population deviation, `sample` by the one of n - 1, `mean` divides by nothing.
        weight_offset: w_k = (k + weight_offset)^alpha; 1 is the paper's, 2 the released code's.
        drop: What a level is skipped for: a `group` of equal returns, or also a `member` that lies at its mean.
        prefix: A context that begins before its episode is `absent`, or is a context of its own, `pad`.
        epsilon: Added to the deviation.

    Returns:
        (N,) in the rewards' float type, on their device; exactly 0 where all returns of a turn's groups are equal.

    Raises:
        ValueError: If lengths differ, a number is out of its range, an option is unknown, a reward is infinite, or an
            episode has two tasks.
    """
    rewards = _numbers(rewards)
    if drop not in ("group", "member"):
        raise ValueError(f"drop={drop!r} is unknown; use 'group' or 'member'.")
    if not weight_offset >= 1:
        raise ValueError(f"weight_offset={weight_offset} must be at least 1; the paper uses 1, the released code 2.")
    if not 0 <= alpha <= 100:
        raise ValueError(f"alpha={alpha} must lie in [0, 100], or weights overflow; the paper uses 1.")
    total, weights = np.zeros(rewards.numel()), np.zeros(rewards.numel())
    levels = _levels(states, episode_ids, task_ids, rewards, depth, gamma, norm, prefix, epsilon)
    for k, (rows, advantages) in enumerate(levels):
        weight = ((advantages != 0) | (drop == "group")) * float(k + weight_offset) ** alpha
        total[rows] += weight * advantages
        weights[rows] += weight
    return _like(rewards, np.divide(total, weights, out=np.zeros_like(total), where=weights > 0))


def same_state_credit(
    states: Labels, episode_ids: Labels, task_ids: Labels, rewards: Numbers, *,
    gamma: float = 0.95, norm: Norm = "std", epsilon: float = 1e-6,
) -> Tensor:  # fmt: skip
    """A_0 of each turn, (N,): among turns in the same state, as GiGPO's A_S; arguments as of `hierarchy_credit`."""
    return oracle_credit(states, episode_ids, task_ids, rewards, depth=0, gamma=gamma, norm=norm, epsilon=epsilon)


def oracle_credit(
    states: Labels, episode_ids: Labels, task_ids: Labels, rewards: Numbers, *,
    depth: int, gamma: float = 0.95, norm: Norm = "std", prefix: Prefix = "absent", epsilon: float = 1e-6,
) -> Tensor:  # fmt: skip
    """A_K of each turn, (N,): the deepest level alone, 0 where it is absent; arguments as of `hierarchy_credit`."""
    rewards = _numbers(rewards)
    *_, deepest = _levels(states, episode_ids, task_ids, rewards, depth, gamma, norm, prefix, epsilon)
    advantages = np.zeros(rewards.numel())
    advantages[deepest.rows] = deepest.advantages
    return _like(rewards, advantages)


def step_returns(rewards: Numbers, episode_ids: Labels, gamma: float = 0.95) -> Tensor:
    """R of each turn: its reward and the later ones of its episode, discounted.

    Args:
        rewards: (N,) of each turn alone, float; one NaN makes its whole episode NaN.
        episode_ids: N labels; one episode's turns stand in time order.
        gamma: Discount per turn, in [0, 1].

    Returns:
        (N,) in the rewards' float type, on their device.

    Raises:
        ValueError: If the lengths differ, gamma is out of its range or a reward is infinite.
    """
    rewards = _numbers(rewards)
    turns = _timeline(rewards, episode_ids, gamma)
    returns = np.empty(len(rewards))
    returns[turns.order] = turns.returns
    return _like(rewards, returns)


class _Timeline(NamedTuple):
    """All turns, episode by episode."""

    order: np.ndarray
    """(N,) row of each place."""
    position: np.ndarray
    """(N,) turns of the episode before it."""
    returns: np.ndarray
    """(N,) R; NaN on all of an unscored episode."""


class _Level(NamedTuple):
    """The turns that have A_k."""

    rows: np.ndarray
    """(M,) distinct."""
    advantages: np.ndarray
    """(M,)"""


def _timeline(rewards: Tensor, episode_ids: Labels, gamma: float) -> _Timeline:
    """R by doubling: the sum over 2s turns is the one over s turns plus gamma^s times the next one."""
    if rewards.dim() != 1 or not rewards.is_floating_point():
        raise ValueError(f"rewards must be floats, (N,); got {rewards.dtype}, {tuple(rewards.shape)}.")
    if bool(torch.isinf(rewards).any()):
        raise ValueError("A reward is infinite; give a finite one, or NaN for unscored.")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma={gamma} must lie in [0, 1]; the paper uses 0.95.")
    episode, _ = _codes(episode_ids, "episode_ids", len(rewards))
    order = np.argsort(episode, kind="stable")
    length = np.bincount(episode)
    position = np.arange(len(episode)) - np.repeat(np.cumsum(length) - length, length)
    later = np.repeat(length, length) - 1 - position
    returns = rewards.detach().cpu().double().numpy()[order]
    span = 1
    while span <= later.max(initial=0):
        returns[:-span] += gamma**span * np.where(later[:-span] >= span, returns[span:], 0.0)
        span *= 2
    first = returns[np.arange(len(episode)) - position]  # NaN if any reward of the episode is
    return _Timeline(order, position, np.where(np.isnan(first), np.nan, returns))


def _levels(
    states: Labels, episode_ids: Labels, task_ids: Labels, rewards: Tensor,
    depth: int, gamma: float, norm: Norm, prefix: Prefix, epsilon: float,
) -> Iterator[_Level]:  # fmt: skip
    """A_0, ..., A_K, each of the turns that have it: those of a group with two different returns."""
    if depth < 0:
        raise ValueError(f"depth={depth} must not be negative; 0 compares turns by their own state alone.")
    if norm not in ("std", "sample", "mean"):
        raise ValueError(f"norm={norm!r} is unknown; use 'std', 'sample' or 'mean'.")
    if prefix not in ("absent", "pad"):
        raise ValueError(f"prefix={prefix!r} is unknown; use 'absent' or 'pad'.")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon={epsilon} must be finite and not negative; the default is 1e-6.")
    order, position, returns = _timeline(rewards, episode_ids, gamma)
    state, kinds = _codes(states, "states", len(order))
    task, _ = _codes(task_ids, "task_ids", len(order))
    state, task = state[order], task[order]
    if np.any(task != task[np.arange(len(order)) - position]):
        raise ValueError("An episode has turns of two tasks; give each episode an id of its own, such as (task, id).")
    places = np.flatnonzero(~np.isnan(returns))
    group = task[places]
    for k in range(depth + 1):
        reaches = position[places] >= k
        if prefix == "absent":
            places, group, reaches = places[reaches], group[reaches], reaches[reaches]
        earlier = np.where(reaches, state[np.maximum(places - k, 0)], kinds)
        _, group = np.unique(group * (kinds + 1) + earlier, return_inverse=True)
        differs, advantages = _compare(returns[places], group, norm, epsilon)
        places, group = places[differs], group[differs]
        yield _Level(order[places], advantages)


def _compare(returns: np.ndarray, group: np.ndarray, norm: Norm, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of the returns (M,) are in a group (M,) of different ones, and the advantages of these alone."""
    count = np.bincount(group)
    deviation = returns - (np.bincount(group, returns) / count)[group]
    spread = np.sqrt(np.bincount(group, deviation**2) / count)
    least = TOLERANCE * np.sqrt(np.bincount(group, returns**2) / count)
    differs = (spread > least)[group]
    group, deviation = group[differs], deviation[differs]
    advantages = np.where(np.abs(deviation) > least[group], deviation, 0.0)
    if norm == "sample":
        spread = spread * np.sqrt(count / np.maximum(count - 1, 1))
    return differs, advantages if norm == "mean" else advantages / (spread[group] + epsilon)


def _codes(values: Labels, name: str, rows: int) -> tuple[np.ndarray, int]:
    """A number from 0 for each value, (N,), equal for equal values, and how many there are."""
    if len(values) != rows:
        raise ValueError(f"{name} has {len(values)} rows, but rewards has {rows}; give one per row.")
    listed = values.tolist() if isinstance(values, Tensor | np.ndarray) else values
    number = {value: i for i, value in enumerate(dict.fromkeys(listed))}
    if any(issubclass(kind, Tensor) for kind in set(map(type, number))):
        raise ValueError(f"{name} holds tensors, of which no two are equal; give one tensor (N,), or plain values.")
    return np.fromiter(map(number.__getitem__, listed), np.int64, rows), len(number)


def _numbers(values: Numbers) -> Tensor:
    """A tensor as it is; anything else in float64."""
    return values if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64)


def _like(rewards: Tensor, values: np.ndarray) -> Tensor:
    """Values (N,) in the rewards' float type and on their device."""
    return torch.from_numpy(values).to(rewards.dtype).to(rewards.device)
