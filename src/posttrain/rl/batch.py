"""The records that hooks take and give, with the shape of every tensor.

Axes: B rows, G rows of one group, T completion tokens, N alternative prompts. Log-probabilities and entropies
are in nats. NaN in a reward means *unscored*: the row takes no part and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Sampled(NamedTuple):
    """One completion, as it was sampled."""

    ids: list[int]
    """Token ids, the end token included when there is one; (T,)."""
    logps: list[float]
    """Log-probability of each id under the sampling distribution; (T,)."""
    finish: str
    """`"stop"` for an end token, `"length"` when it was cut off."""


class Sampler(Protocol):
    """Token in, token out: what was sampled is what is trained. Every rank makes the same number of calls."""

    async def __call__(
        self, prompt_ids: list[list[int]], *, max_tokens: int, temperature: float, seed: int
    ) -> list[Sampled]:
        """Sample one completion per prompt."""
        ...


@dataclass(frozen=True)
class Row:
    """One prompt and one completion."""

    prompt_ids: list[int]
    """(P,)"""
    ids: list[int]
    """(T,)"""
    group: int
    """Rows that answer the same question and are compared with each other."""
    task: Mapping[str, Any] = field(default_factory=dict)
    """The data set's row: its id, its answer and whatever else a reward needs."""
    prompt: Any = None
    """The prompt as text or messages, where there is one."""
    completion: Any = None
    """The completion as text or messages, where there is one."""


@dataclass(frozen=True)
class Table:
    """The rows of all ranks, without a token axis: what `credit` sees."""

    rewards: Tensor
    """(B,), NaN where unscored."""
    group: Tensor
    """(B,) long."""
    correct: Tensor
    """(B,), 1.0 or 0.0, NaN where unknown."""
    prompt_key: Sequence[str]
    """B stable ids of the prompts."""
    length: Tensor
    """(B,) completion tokens."""
    step: int = 0
    """Optimiser steps done."""
    total_steps: int = 0
    """Optimiser steps planned."""
    training: bool = True
    """False in evaluation, where no state changes."""
    episode: Tensor | None = None
    """(B,) long: rows of one episode."""
    turn: Tensor | None = None
    """(B,) long: place of the row in its episode."""
    state: Sequence[Any] | None = None
    """B state keys of the environment."""
    turn_rewards: Sequence[Sequence[float]] | None = None
    """B lists of rewards, one per turn of the row."""
    skill: Tensor | None = None
    """(B,) long: the skill a row was sampled with."""

    def __post_init__(self) -> None:
        rows = self.rewards.shape[0]
        for name in (
            "group",
            "correct",
            "prompt_key",
            "length",
            "episode",
            "turn",
            "state",
            "turn_rewards",
            "skill",
        ):
            value = getattr(self, name)
            if value is not None and len(value) != rows:
                raise ValueError(f"Table.{name} has {len(value)} rows, but rewards has {rows}; give one per row.")

        if bool(torch.isinf(self.rewards).any()):
            raise ValueError("A reward is infinite; give a finite one, or NaN for unscored.")

    @property
    def scored(self) -> Tensor:
        """(B,) bool: rows that take part."""
        return ~torch.isnan(self.rewards)


@dataclass(frozen=True)
class Credit:
    """What `credit` gives back."""

    advantages: Tensor
    """(B,): one per row; 0 where unscored."""
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    """(B,) row columns that later hooks read, by name."""
    state: Any = None
    """The method's new state (JSON values), or None to keep the old one."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Scalars to log once per generation."""


@dataclass(frozen=True)
class Live:
    """One micro-batch in front of the loss: what `anchor`, `shape` and `penalty` see."""

    logp: Tensor
    """(B, T) log-probabilities of the sampled tokens under the policy, with gradient."""
    logp_old: Tensor
    """(B, T) the same under the policy that sampled them, without gradient."""
    mask: Tensor
    """(B, T) 1 for a token that is trained, else 0."""
    advantages: Tensor
    """(B, T)"""
    entropy: Tensor | None = None
    """(B, T) entropy of the policy at each token."""
    logp_ref: Tensor | None = None
    """(B, T) log-probabilities under the reference policy, where there is one."""
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, T) or (B, N, T) log-probabilities under what each `Score` names."""
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    """(B,) row columns made by `credit`."""
    is_end: Tensor | None = None
    """(B, T) bool: the end token of a completion."""
    turn: Tensor | None = None
    """(B, T) turn of each token, -1 on tokens of the environment."""
    step: int = 0
    """Optimiser steps done."""
    total_steps: int = 0
    """Optimiser steps planned."""

    def ends(self) -> Tensor:
        """(B, T) bool: the end tokens; a sentence if the engine does not mark them."""
        if self.is_end is None:
            raise ValueError("mask_end needs end tokens, which this engine does not mark; set Live.is_end.")
        return self.is_end

    def score(self, name: str) -> Tensor:
        """The log-probabilities of `Score(name)`; a sentence instead of a KeyError if the engine gave none."""
        if name not in self.scores:
            raise ValueError(
                f"No score {name!r} in this micro-batch (it has {sorted(self.scores)}); declare it in scores()."
            )
        return self.scores[name]

    def column(self, name: str) -> Tensor:
        """A row column as (B, 1), ready to broadcast over tokens."""
        if name not in self.columns:
            raise ValueError(
                f"No column {name!r} in this micro-batch (it has {sorted(self.columns)}); return it from credit()."
            )
        return self.columns[name].unsqueeze(-1)
