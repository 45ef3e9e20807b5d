"""The reference trainer: `policy_loss` on policies that are not transformers models.

A policy is anything that samples and scores: a table, or a scorer over commands. The other engines agree with
this one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from posttrain.rl.batch import Live, Row, Sampled, Table
from posttrain.rl.loss import policy_loss
from posttrain.rl.recipe import Recipe
from posttrain.values import check_group_size


class Policy(Protocol):
    """What the loop needs of a model. It is also what a `Score` names as its model."""

    async def sample(
        self, prompt_ids: list[list[int]], *, max_tokens: int, temperature: float, seed: int
    ) -> list[Sampled]:
        """One completion per prompt."""
        ...

    def score(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and mask of the rows' tokens, (B, T) each, with gradient."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        ...


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
        tasks: Each with `prompt_ids`, a list of token ids.
        reward: A row's reward; NaN leaves it unscored. A row is correct if its reward is above 0.
        steps: Generations.
        group_size: Completions per task, at least 2.
        inner_steps: Optimiser steps per generation.
        max_tokens: Longest completion.
        optimizer: Over the policy's parameters.
        seed: Of the sampling, mixed with the step.
    """
    check_group_size(group_size)
    _check(recipe)
    state, common = recipe.initial_state(), {"max_tokens": max_tokens, "temperature": 1.0}
    for step in range(steps):
        done, total = step * inner_steps, steps * inner_steps
        common["seed"] = random.Random(f"{seed}:{step}").getrandbits(62)
        repeated = [{**task, **common, "group": g} for g, task in enumerate(tasks) for _ in range(group_size)]
        rows: list[Row] = asyncio.run(recipe.owner("rollout").rollout(repeated, policy.sample))
        extra = asyncio.run(recipe.reward(rows))
        with torch.no_grad():
            logp_old, _, mask = policy.score(rows)
            scores = {score.name: score.model.score(rows)[0] for score in recipe.scores()}
        values = [reward(row) + e for row, e in zip(rows, extra, strict=True)]
        table = table_of(rows, values, logp_old, done, total)
        credit = recipe.credit(table, state)
        state = credit.state
        sums: dict[str, Tensor] = {}
        for inner in range(inner_steps):
            logp, entropy, _ = policy.score(rows)
            advantages = credit.advantages.unsqueeze(1).expand_as(logp)
            live = Live(
                logp, logp_old, mask, advantages, entropy, None, scores, credit.columns,
                step=done + inner, total_steps=total,
            )  # fmt: skip
            loss = policy_loss(recipe, live)
            optimizer.zero_grad()
            loss.value.backward()
            optimizer.step()
            for name, mean in loss.metrics.items():
                sums[name] = sums.get(name, 0) + torch.stack([mean.total, mean.count])
        means = {name: (value / count).item() for name, (value, count) in sums.items() if count}
        scored = table.scored
        yield {
            "step": step, "reward": table.rewards[scored].mean().item(),
            "unscored": 1 - scored.float().mean().item(), **credit.metrics, **means,
        }  # fmt: skip


def _check(recipe: Recipe) -> None:
    """Reject what this engine cannot do."""
    for score in recipe.scores():
        if not hasattr(score.model, "score") or score.prompt_of_row is not None:
            raise ValueError(
                f"The score {score.name!r} has the model {score.model!r}; this engine needs one with a method "
                "score(rows), under the row's own prompt."
            )
    if recipe.settings.kl_beta:
        raise ValueError(f"kl_beta={recipe.settings.kl_beta}, but this engine has no reference policy; use kl_beta=0.")


def table_of(rows: Sequence[Row], rewards: Sequence[float], like: Tensor, step: int, steps: int) -> Table:
    """The credit table of one process; `like` gives the float type."""
    values = torch.tensor(list(rewards), dtype=like.dtype, device=like.device)
    return Table(
        rewards=values,
        group=torch.tensor([row.group for row in rows], device=like.device),
        correct=torch.where(values.isnan(), values, (values > 0).to(values.dtype)),
        prompt_key=[str(row.task.get("id", row.group)) for row in rows],
        length=torch.tensor([len(row.ids) for row in rows], device=like.device),
        step=step,
        total_steps=steps,
    )


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
        ids = torch.tensor([row.ids for row in rows])
        logp = self.logits[[row.prompt_ids[0] for row in rows], : ids.shape[1]].log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        return logp.gather(-1, ids.unsqueeze(-1)).squeeze(-1), entropy, torch.ones_like(entropy)
