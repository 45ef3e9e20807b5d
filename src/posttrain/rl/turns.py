"""Episodes as rows: one row for a whole episode, or one row per turn.

Axes: E episodes, B rows of the batch, T tokens, K turns of the longest episode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from posttrain.rl.batch import Acted, Row, Table
from posttrain.rl.hierarchy import TOLERANCE, step_returns


class Unrolled(NamedTuple):
    """The rows that are trained."""

    rows: list[Row]
    """B rows: one per turn of an episode that is trained by turn, any other row as it is."""
    place: list[int]
    """(B,) which of the given rows it comes from."""
    turn: list[int]
    """(B,) which turn it is, 0 where the row is not a turn."""


def unrolled(rows: Sequence[Row]) -> Unrolled:
    """One row per turn where `Row.by_turn` asks for it.

    A dropped episode, or one without a turn, keeps one row of one token that is not trained.
    """
    out = Unrolled([], [], [])
    for place, row in enumerate(rows):
        parts = _by_turn(row) if row.by_turn else [row]
        out.rows.extend(parts)
        out.place.extend([place] * len(parts))
        out.turn.extend(range(len(parts)))
    return out


def _by_turn(row: Row) -> list[Row]:
    if not row.turns or (row.verdict is not None and math.isnan(row.verdict)):
        return [replace(row, ids=row.ids[-1:], logps=(), turn_of=[-1], by_turn=False)]
    return [
        replace(
            row,
            prompt_ids=turn.prompt_ids if turn.trained_after is None else turn.trained_after,
            sampled_after=None if turn.trained_after is None else turn.prompt_ids,
            ids=turn.ids,
            logps=turn.logps,
            turns=[turn],
            by_turn=False,
        )
        for turn in row.turns
    ]


def trained(row: Row) -> list[int]:
    """(T,) 1 for a token that was sampled, 0 for one of the environment."""
    return [int(turn >= 0) for turn in row.turn_of] if row.turn_of else [1] * len(row.ids)


def tokens_of(row: Row) -> int:
    """Sampled tokens of a row, of all turns of an episode; none of one that was dropped."""
    if row.verdict is not None and math.isnan(row.verdict):
        return 0
    return sum(len(turn.ids) for turn in row.turns) if row.by_turn else sum(trained(row))


def swapped(rows: Sequence[Row]) -> Tensor:
    """(B,) 1 where a row is trained after another prompt than it was sampled after, else 0."""
    return torch.tensor([float(row.sampled_after is not None) for row in rows])


def token_turns(rows: Sequence[Row], width: int) -> Tensor:
    """(B, width) the turn of each token; 0 on tokens of the environment and on padding, which are not trained."""
    out = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        if row.turn_of:
            out[i, : len(row.turn_of)] = torch.tensor(row.turn_of).clamp(min=0)
    return out


def spread(advantages: Tensor, found: Unrolled, width: int) -> Tensor:
    """(B,), or (B, width) where rows hold several turns: the advantage of each row or token.

    Args:
        advantages: (E,), or (E, K) with one per turn.
        found: The rows of these episodes.
        width: Tokens of the widest row.
    """
    place = torch.tensor(found.place, device=advantages.device)
    if advantages.dim() == 1:
        return advantages[place]
    if any(row.turn_of for row in found.rows):
        turn = token_turns(found.rows, width).to(advantages.device) + _first_turns(found).to(advantages.device)
        return advantages[place].gather(1, turn)
    return advantages[place, torch.tensor(found.turn, device=advantages.device)]


def _first_turns(found: Unrolled) -> Tensor:
    """(B, 1) the turn at which a row begins."""
    return torch.tensor(found.turn).unsqueeze(1)


class Flat(NamedTuple):
    """The turns of all episodes one below the other, in time order, N in all."""

    episode: Tensor
    """(N,) long: the row of the table."""
    turn: Tensor
    """(N,) long: place in the episode."""
    states: list[str]
    """N state keys."""
    rewards: Tensor
    """(N,) what each turn earned; NaN where the episode is unscored."""
    fines: Tensor
    """(N,) what is taken from a turn's return alone."""


def flat(table: Table) -> Flat:
    """The turns of a table of episodes.

    What an episode earned beyond its turns' rewards (a method's bonus, a second reward function) is earned by its last
    turn. An episode without turns has none here.

    Raises:
        ValueError: The table has no turns.
    """
    if table.acted is None:
        raise ValueError("This credit needs turns, and these rows have none; roll out with agent(worlds=...).")
    lengths = torch.tensor([len(acted) for acted in table.acted])
    episode = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    turn = torch.arange(len(episode)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    turns: list[Acted] = [acted for episode in table.acted for acted in episode]
    rewards = torch.tensor([acted.reward + acted.bonus for acted in turns], dtype=torch.float64)
    fines = torch.tensor([acted.fine for acted in turns], dtype=torch.float64)
    total = table.rewards.double().cpu()
    earned = torch.zeros(len(lengths), dtype=torch.float64).index_add_(0, episode, rewards - fines)
    rest = total - earned
    sizes = torch.zeros_like(total).index_add_(0, episode, rewards.abs() + fines.abs())
    rest = torch.where(rest.abs() > TOLERANCE * sizes, rest, 0.0)  # an engine's float32 is no second reward
    last = turn == (lengths - 1)[episode]
    rewards = torch.where(total[episode].isnan(), torch.nan, rewards + torch.where(last, rest[episode], 0.0))
    return Flat(episode, turn, [acted.state for acted in turns], rewards, fines)


Crediting = Callable[[Flat, Tensor, Tensor], Tensor]
"""Turns, their step returns (N,) and their tasks (N,) to an advantage each, (N,)."""


def credit_turns(table: Table, gamma: float, credit: Crediting) -> Tensor:
    """(E, K) advantages of turns by their discounted returns less their fines, in the table's float type."""
    turns = flat(table)
    returns = step_returns(turns.rewards, turns.episode, gamma) - turns.fines
    advantages = credit(turns, returns, table.group.cpu()[turns.episode])
    return by_turn(advantages, turns, len(table.rewards)).to(table.rewards)


def by_turn(values: Tensor, found: Flat, episodes: int) -> Tensor:
    """(E, K) from values (N,), 0 where an episode has no such turn."""
    width = int(found.turn.max()) + 1 if len(values) else 1
    out = torch.zeros((episodes, width), dtype=values.dtype)
    out[found.episode, found.turn] = values
    return out
