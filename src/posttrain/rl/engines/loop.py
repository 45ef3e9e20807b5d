"""The reference trainer: `policy_loss` on policies that are not transformers models.

A policy is anything that samples and scores: a table, or a scorer over commands. The other engines agree with
this one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from posttrain.rl.batch import Live, Row, Sampled, Table, Task
from posttrain.rl.engines.run_async import run_async
from posttrain.rl.loss import policy_loss, row_means
from posttrain.rl.math import positive
from posttrain.rl.method import Score
from posttrain.rl.recipe import Recipe
from posttrain.rl.turns import spread, swapped, tokens_of, trained, unrolled
from posttrain.values import check_group_size


class Policy(Protocol):
    """What the loop needs of a model. It is also what a `Score` names as its model.

    A policy whose recipe renders or reads text also has `encode(prompt) -> ids` and `decode(ids) -> text`.
    """

    async def sample(
        self, prompt_ids: list[list[int]], *, max_tokens: int, temperature: float, seed: int
    ) -> list[Sampled]:
        """One completion per prompt; there may be none."""
        ...

    def score(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and mask of the rows' tokens, (B, T) each, with gradient."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        ...


@dataclass
class LoopSampler:
    """The `Sampler` that hooks get: the policy, with a new seed at every call."""

    policy: Any
    tasks: Sequence[dict[str, Any]]
    reward: Callable[[Row], float]
    max_tokens: int
    seed: random.Random
    rank: int = 0
    ranks: int = 1
    training: bool = True
    temperature: float = 1.0

    async def __call__(
        self, prompt_ids: Sequence[list[int]], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> list[Sampled]:
        """One completion per prompt."""
        return await self.policy.sample(
            list(prompt_ids),
            max_tokens=max_tokens or self.max_tokens,
            temperature=self.temperature if temperature is None else temperature,
            seed=self.seed.getrandbits(62),
        )

    def encode(self, prompt: Any) -> list[int]:
        """Ids as they are; anything else by the policy."""
        return list(prompt) if prompt and isinstance(prompt[0], int) else self.policy.encode(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        """By the policy, or the ids with spaces."""
        decode = getattr(self.policy, "decode", None)
        return decode(ids) if decode is not None else " ".join(map(str, ids))

    async def judge(self, keys: Sequence[str], completions: Sequence[str]) -> list[float]:
        """The loop's reward on completions of tasks; right if it is above 0."""
        tasks = {_key(task, i): task for i, task in enumerate(self.tasks)}
        rows = [
            Row(tasks[key]["prompt_ids"], self.encode(text), 0, tasks[key], completion=text)
            for key, text in zip(keys, completions, strict=True)
        ]
        return positive(torch.tensor([self.reward(row) for row in rows])).tolist()


def train(
    recipe: Recipe,
    policy: Policy,
    tasks: Sequence[dict[str, Any]],
    reward: Callable[[Row], float],
    *,
    steps: int,
    group_size: int,
    inner_steps: int = 1,
    max_tokens: int = 1,
    optimizer: torch.optim.Optimizer,
    seed: int = 0,
) -> Iterator[dict[str, float]]:
    """Train `policy` on all `tasks` at every step; yields the metrics of each generation.

    Args:
        recipe: The methods; the models of its scores are policies.
        policy: What is trained, in place.
        tasks: Each with a `prompt`, or with `prompt_ids`, a list of token ids.
        reward: A row's reward; NaN leaves it unscored. A row is correct if its reward is above 0. Episodes, which a
            world rewards, take `posttrain.rl.agent.environment`.
        steps: Generations.
        group_size: Completions per task, at least 2.
        inner_steps: Optimiser steps per generation.
        max_tokens: Longest completion.
        optimizer: Over the policy's parameters.
        seed: Of the sampling, mixed with the step.
    """
    check_group_size(group_size)
    recipe.check_group_size(group_size)
    recipe.check()
    _check(recipe)
    state = recipe.initial_state()
    for step in range(steps):
        done, total = step * inner_steps, steps * inner_steps
        sampler = LoopSampler(policy, tasks, reward, max_tokens, random.Random(f"{seed}:{step}"))
        rows, table, metrics = run_async(_generate(recipe, sampler, state, group_size, done, total))
        credit = recipe.credit(table, state)
        state, remembered = recipe.remember(table, state)
        found = unrolled(rows)
        with torch.no_grad():
            logp_old, _, mask = policy.score(found.rows)
            mask = mask * nn.utils.rnn.pad_sequence([mask.new_tensor(trained(row)) for row in found.rows], True)
            scores = {
                score.name: _under_prompts(score, policy, found.rows, sampler)
                if score.prompts_of_row
                else score.model.score(found.rows)[0]
                for score in recipe.scores()
            }
        of_rows = spread(credit.advantages, found, logp_old.shape[1])
        columns = {name: column[torch.tensor(found.place)] for name, column in credit.columns.items()}
        columns["swapped"] = swapped(found.rows)
        sums: dict[str, Tensor] = {}
        for inner in range(inner_steps):
            logp, entropy, _ = policy.score(found.rows)
            advantages = of_rows.to(logp.dtype)
            advantages = (advantages.unsqueeze(1) if advantages.dim() == 1 else advantages).expand_as(logp)
            live = Live(
                logp, logp_old, mask, advantages, entropy, None, scores, columns, step=done + inner, total_steps=total
            )
            loss = policy_loss(recipe, live)
            optimizer.zero_grad()
            loss.value.backward()
            optimizer.step()
            for name, mean in loss.metrics.items():
                sums[name] = sums.get(name, 0) + torch.stack([mean.total, mean.count])
        means = {name: (value / count).item() for name, (value, count) in sums.items() if count}
        yield {"step": step, **metrics, **credit.metrics, **remembered, **means}


def trial(
    recipe: Recipe, policy: Policy, tasks: Sequence[dict[str, Any]], *, seed: int = 0, temperature: float = 1.0
) -> list[Row]:
    """One row per task, as in an evaluation: nothing is trained or remembered.

    Args:
        recipe: Its rollout answers or plays.
        policy: Samples.
        tasks: As for `train`.
        seed: Of the sampling.
        temperature: Of the sampling.
    """
    sampler = LoopSampler(
        policy, tasks, lambda row: 0.0, 1, random.Random(seed), training=False, temperature=temperature
    )
    owner = recipe.owner("rollout")
    return run_async(owner.rollout(_tasks(tasks, 1), sampler, owner.initial_state()))


def _tasks(rows: Sequence[Mapping[str, Any]], group_size: int) -> list[Task]:
    """Each row so many times in a group of its own."""
    keys = [_key(row, place) for place, row in enumerate(rows)]
    return [
        Task(
            row.get("prompt") or row["prompt_ids"],
            group,
            group * group_size + i,
            {**row, "id": keys[group]},
            keys[group],
        )
        for group, row in enumerate(rows)
        for i in range(group_size)
    ]


async def _generate(
    recipe: Recipe, sampler: LoopSampler, state: Mapping[str, Any], group_size: int, done: int, total: int
) -> tuple[list[Row], Table, dict[str, float]]:
    """Answers and extra rows with their credit table, and the answers' metrics."""
    owner = recipe.owner("rollout")
    rows: list[Row] = await owner.rollout(_tasks(sampler.tasks, group_size), sampler, state.get(owner.name))
    with torch.no_grad():
        for score in recipe.scores():
            if score.prompts_of_row is not None:
                found = _under_prompts(score, sampler.policy, rows, sampler)
                rows = [row.with_score(score.name, values) for row, values in zip(rows, found, strict=True)]
    plain = torch.tensor([sampler.reward(row) for row in rows], dtype=torch.float64)
    verdicts = torch.tensor([row.verdict for row in rows]) if recipe.episodic else positive(plain)
    table = table_of(rows, plain + torch.tensor(await recipe.reward(rows)), verdicts, done, total, recipe.episodic)
    scored = table.scored
    metrics = {"reward": table.rewards[scored].mean().item(), "unscored": 1 - scored.float().mean().item()}
    if recipe.fills("extend"):
        owner = recipe.owner("extend")
        extra = await owner.extend(table, state.get(owner.name), sampler)
        table = table.with_extra(extra, await recipe.reward(extra))
        rows = rows + extra
    return rows, table, metrics | row_means([recipe.diagnose_rows(rows)])


def _under_prompts(score: Score, policy: Any, rows: Sequence[Row], sampler: LoopSampler) -> Tensor:
    """(B, N, T) log-probabilities of the rows' tokens under each row's N prompts."""
    assert score.prompts_of_row is not None
    scorer = score.model if score.model is not None else policy
    wanted = torch.tensor([score.rows is None or score.rows(row) for row in rows])
    some = [row for row, is_wanted in zip(rows, wanted.tolist(), strict=True) if is_wanted]
    out = torch.full((len(rows), 1, max(len(row.ids) for row in rows)), torch.nan)
    if not some:
        return out
    prompts = [score.prompts_of_row(row) for row in some]
    found = [
        scorer.score([replace(row, prompt_ids=sampler.encode(p[n])) for row, p in zip(some, prompts, strict=True)])[0]
        for n in range(len(prompts[0]))
    ]
    out = out.to(found[0]).repeat(1, len(found), 1)
    out[wanted, :, : found[0].shape[1]] = torch.stack(found, dim=1)
    return out


def _check(recipe: Recipe) -> None:
    """Reject what this engine cannot do."""
    for score in recipe.scores():
        if not hasattr(score.model, "score") and not (score.model is None and score.prompts_of_row):
            raise ValueError(
                f"The score {score.name!r} has the model {score.model!r}; this engine needs one with a method "
                "score(rows)."
            )
    if recipe.settings.kl_beta:
        raise ValueError(f"kl_beta={recipe.settings.kl_beta}, but this engine has no reference policy; use kl_beta=0.")


def table_of(
    rows: Sequence[Row], rewards: Tensor, correct: Tensor, step: int, steps: int, episodic: bool = False
) -> Table:
    """The credit table of one process's answers, or of its episodes."""
    return Table(
        rewards=rewards,
        group=torch.tensor([row.group for row in rows]),
        correct=correct,
        prompt_key=[str(row.task["id"]) for row in rows],
        length=torch.tensor([tokens_of(row) for row in rows]),
        step=step,
        total_steps=steps,
        skill=torch.tensor([row.skill for row in rows]),
        notes=[row.notes for row in rows],
        prompts=[row.prompt for row in rows],
        completions=[row.completion for row in rows],
        acted=[[turn.acted for turn in row.turns] for row in rows] if episodic else None,
    )


def _key(task: Mapping[str, Any], place: int) -> str:
    """A task's id, or its place."""
    return str(place if task.get("id") is None else task["id"])


class TabularPolicy(nn.Module):
    """Independent logits for each prompt and position, (prompts, T, V); a prompt is the list of its index."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    async def sample(
        self, prompt_ids: list[list[int]], *, max_tokens: int, temperature: float, seed: int
    ) -> list[Sampled]:
        """One completion of T tokens per prompt; the same seed gives the same completions."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            logp = (self.logits[[ids[0] for ids in prompt_ids], :max_tokens] / temperature).log_softmax(-1)
            ids = torch.multinomial(logp.exp().flatten(0, 1), 1, generator=generator).view(logp.shape[:2])
            chosen = logp.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
        return [Sampled(i, p, "length") for i, p in zip(ids.tolist(), chosen.tolist(), strict=True)]

    def score(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and mask, (B, T) each."""
        ids = nn.utils.rnn.pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(row.ids) for row in rows]).unsqueeze(1)
        logp = self.logits[[row.prompt_ids[0] for row in rows], : ids.shape[1]].log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        return logp.gather(-1, ids.unsqueeze(-1)).squeeze(-1), entropy, mask.to(logp.dtype)
