"""The records that hooks take and give, with the shape of every tensor.

Axes: B rows, G rows of one group, T completion tokens, N alternative prompts. Log-probabilities and entropies
are in nats. NaN in a reward means *unscored*: the row takes no part and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Sampled(NamedTuple):
    """One completion, as it was sampled."""

    ids: list[int]
    """Token ids, the end token included when there is one; (T,)."""
    logps: list[float]
    """Log-probability of each id under the sampling distribution, where the engine gives it; (T,)."""
    finish: str
    """`"stop"` for an end token, `"length"` when it was cut off."""


class Sampler(Protocol):
    """What a rollout samples with. Token in, token out: what was sampled is what is trained.

    Every rank makes the same number of calls; their numbers of prompts may differ, down to none, except under vLLM's
    server mode and for a model in shards over the ranks, where every rank must give equally many.
    """

    rank: int
    """This process, from 0."""
    ranks: int
    """Processes in all."""

    @property
    def training(self) -> bool:
        """False in evaluation, where nothing may be remembered."""
        ...

    async def __call__(
        self, prompt_ids: Sequence[list[int]], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> list[Sampled]:
        """One completion per prompt; None stands for the run's own setting."""
        ...

    def encode(self, prompt: Any) -> list[int]:
        """Token ids of a prompt, as the engine feeds it: messages through the chat template, ids as they are."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        ...

    async def judge(self, keys: Sequence[str], completions: Sequence[str]) -> list[float]:
        """The task's verdict on completions of the prompts with these ids: 1.0 right, 0.0 wrong, NaN unscored."""
        ...


@dataclass(frozen=True)
class Task:
    """What `rollout` answers with one row."""

    prompt: Any
    """Text, messages or token ids."""
    group: int
    """Tasks of one group have the same prompt."""
    index: int
    """Place among the rows of all ranks, from 0."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The data set's row."""
    key: str = ""
    """The stable id of the prompt, by which methods remember it; the same as in `Table.prompt_key`."""


class Acted(NamedTuple):
    """What the world says about one turn of an episode."""

    state: str
    """Key of the state it was taken in."""
    reward: float
    """What the world gave for it."""
    fine: float = 0.0
    """Taken from this turn's return alone, such as for an action that is not admissible."""
    bonus: float = 0.0
    """A method's own reward for it, which is also in what its `reward` gives for the episode."""


class Turn(NamedTuple):
    """One action of an episode, as it was sampled."""

    prompt_ids: list[int]
    """(P,) what it was sampled after."""
    ids: list[int]
    """(T,)"""
    logps: Sequence[float]
    """(T,) as sampled, where the engine gives them."""
    acted: Acted
    """State and reward."""
    trained_after: list[int] | None = None
    """The prompt it is trained after, where that is another one."""


@dataclass(frozen=True)
class Row:
    """One prompt and one completion; or a whole episode, trained as one row or as one row per turn."""

    prompt_ids: list[int]
    """(P,)"""
    ids: list[int]
    """(T,)"""
    group: int
    """Rows that are compared with each other; unique over all ranks among the rows of one hook."""
    task: Mapping[str, Any] = field(default_factory=dict)
    """The data set's row: its id, its answer and whatever else a reward needs."""
    prompt: Any = None
    """The prompt as text or messages, where there is one."""
    completion: Any = None
    """The completion as text or messages, where there is one."""
    logps: Sequence[float] = ()
    """(T,) as sampled, where the engine gives them."""
    skill: int = 0
    """The skill it was sampled with, from 1; 0 for none."""
    extra: bool = False
    """Made by `extend`: it answers no task, so only the methods' own rewards count."""
    joins: int | None = None
    """The answers' group that an extra row is compared with, instead of one of its own."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the hook that made the row wants to find again in `reward` and `Table.notes`; JSON values."""
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    """(N, T) log-probabilities under what each `Score` with `prompts_of_row` names."""
    turns: Sequence[Turn] = ()
    """The turns of an episode, in order."""
    by_turn: bool = False
    """Whether the episode is trained as one row per turn; `ids` are then its last action, for people to read."""
    turn_of: Sequence[int] = ()
    """(T,) the turn of each token, -1 on tokens of the environment, which are not trained; () where all tokens are
    sampled ones of one turn."""
    sampled_after: list[int] | None = None
    """The prompt it was sampled after, where that is not `prompt_ids`."""
    verdict: float | None = None
    """1.0 or 0.0 where the rollout itself knows whether the task is solved, NaN where the episode is dropped."""

    def __post_init__(self) -> None:
        if self.turn_of and len(self.turn_of) != len(self.ids):
            raise ValueError(
                f"A row has {len(self.ids)} tokens and {len(self.turn_of)} entries of turn_of; give one per token, or "
                "one of the world's is trained."
            )

    @property
    def key(self) -> str:
        """The id of the task, or of the group where there is none."""
        given = self.task.get("id")
        return f"extra {self.group}" if given is None else str(given)

    def with_score(self, name: str, logp: Tensor) -> Row:
        """This row with log-probabilities (N, at least T) under what `Score(name)` asks for."""
        return replace(self, scores={**self.scores, name: logp[:, : len(self.ids)]})


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
    ranks: int = 1
    """Processes that the rows come from."""
    acted: Sequence[Sequence[Acted]] | None = None
    """B lists of what the world said, one entry per turn of the episode; a row is an episode."""
    skill: Tensor | None = None
    """(B,) long: the skill a row was sampled with, from 1; 0 for none."""
    extra: Tensor | None = None
    """(B,) bool: rows that `extend` made; their `correct` is NaN."""
    notes: Sequence[Mapping[str, Any]] | None = None
    """B notes of the hook that made the row."""
    prompts: Sequence[Any] | None = None
    """B prompts as text or messages, where a method `reads_text`."""
    completions: Sequence[Any] | None = None
    """B completions as text, where a method `reads_text`."""

    def __post_init__(self) -> None:
        rows = self.rewards.shape[0]
        for name in (
            "group",
            "correct",
            "prompt_key",
            "length",
            "acted",
            "skill",
            "extra",
            "notes",
            "prompts",
            "completions",
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

    @property
    def answers(self) -> Tensor:
        """(B,) bool: rows that answer a task, that is, all but the extra ones."""
        return torch.ones_like(self.scored) if self.extra is None else ~self.extra

    @property
    def judged(self) -> Tensor:
        """(B,) bool: answers that are scored and known to be right or wrong."""
        return self.scored & self.answers & ~torch.isnan(self.correct)

    @property
    def right(self) -> Tensor:
        """(B,) bool: judged answers that are right."""
        return self.judged & (self.correct == 1)

    def with_extra(self, rows: Sequence[Row], rewards: Sequence[float], lengths: Sequence[int] | None = None) -> Table:
        """This table of answers with the extra rows of all ranks below.

        Their groups are apart from the answers', except for rows that join one of these.

        Args:
            rows: Of all ranks.
            rewards: One per row; NaN where unscored.
            lengths: Completion tokens of each row, where rows come without their ids.
        """
        if not rows:
            return self
        answers, like = len(self.rewards), {"dtype": self.rewards.dtype, "device": self.rewards.device}
        _, own = torch.unique(torch.tensor([row.group for row in rows]), return_inverse=True)
        first = int(self.group.max()) + 1
        groups = [first + g if row.joins is None else row.joins for row, g in zip(rows, own.tolist(), strict=True)]
        tokens = self.length.new_tensor([len(row.ids) for row in rows] if lengths is None else list(lengths))
        blank = [{}] * answers
        return replace(
            self,
            rewards=torch.cat([self.rewards, torch.tensor(list(rewards), **like)]),
            group=torch.cat([self.group, self.group.new_tensor(groups)]),
            correct=torch.cat([self.correct, torch.full((len(rows),), torch.nan, **like)]),
            prompt_key=[*self.prompt_key, *(row.key for row in rows)],
            length=torch.cat([self.length, tokens]),
            skill=None if self.skill is None else torch.cat([self.skill, torch.zeros_like(tokens)]),
            acted=None if self.acted is None else [*self.acted, *([] for _ in rows)],
            extra=torch.arange(answers + len(rows), device=self.rewards.device) >= answers,
            notes=[*(self.notes or blank), *(row.notes for row in rows)],
            prompts=None if self.prompts is None else [*self.prompts, *(row.prompt for row in rows)],
            completions=None if self.completions is None else [*self.completions, *(row.completion for row in rows)],
        )


@dataclass(frozen=True)
class Credit:
    """What `credit` gives back."""

    advantages: Tensor
    """(B,): one per row; or (B, K): one per turn of an episode, of at most K turns. 0 where unscored."""
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    """(B,) row columns that later hooks read, by name."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Scalars to log once per generation."""


class Memory(NamedTuple):
    """What `remember` gives back."""

    state: Any
    """The method's new state: JSON values."""
    metrics: Mapping[str, float] = {}
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
    """(B, T) entropy of the policy at each token over the whole vocabulary, at the sampling temperature, with
    gradient."""
    logp_ref: Tensor | None = None
    """(B, T) log-probabilities under the reference policy, where there is one."""
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, T) or (B, N, T) log-probabilities under what each `Score` names."""
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    """(B,) row columns made by `credit`."""
    is_end: Tensor | None = None
    """(B, T) bool: the end token of a completion."""
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

    def entropies(self) -> Tensor:
        """(B, T) entropies with gradient; a sentence if the engine gives none."""
        if self.entropy is None:
            raise ValueError("This recipe needs the policy's entropy, which the engine gave none of; set Live.entropy.")
        return self.entropy

    def column(self, name: str) -> Tensor:
        """A row column as (B, 1), ready to broadcast over tokens."""
        if name not in self.columns:
            raise ValueError(
                f"No column {name!r} in this micro-batch (it has {sorted(self.columns)}); return it from credit()."
            )
        return self.columns[name].unsqueeze(-1)
