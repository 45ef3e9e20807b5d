"""The linear model of `posttrain.tune.theory`, trained: which weights are tuned, and what is left of context learning.

A model is pretrained on prompts of m examples, each with a task theta of its own, uniform with |theta| = 1. It is then
tuned on one task theta_0 with all weights, with Q alone or with V alone, by the zero-shot loss L_ZS (ZS) or by
L_ZS + lambda_t L_FS (ZS+FS). Its risk after 0 to 20 examples is exact, by `theory.risk`; nothing is sampled for it.

Differs from the paper: batches of 1,000 (the paper's: 5,000), 4,000 steps of pretraining and 3,000 of tuning (5,000
each), and tuning draws fresh prompts rather than from 100,000. Of V the last row alone is there: the prediction reads
no other, and a loss without weight decay moves no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from posttrain.tune import theory

PRETRAINED = "pretrained"
Model = dict[str, Tensor]
"""`q`, Q, (d+2, d+2), and `v`, the last row of V, (d+2,)."""
Loss = Callable[[Model, int], Tensor]
"""From weights and the number of the step, counted from 0."""


@dataclass(frozen=True)
class Linear:
    """The experiment."""

    d: int = 5
    """Coordinates of x."""
    noise: float = 0.1
    """sigma^2."""
    shots: int = 20
    """Examples of a prompt: m of pretraining, n of the few-shot loss, and the most in an evaluation."""
    start: float = 0.05
    """Deviation of the first weights."""
    batch: int = 1000
    """Prompts per step."""
    pretrain_steps: int = 4000
    """Of pretraining."""
    tune_steps: int = 3000
    """Of each arm's tuning."""
    learning_rate: float = 0.01
    """Of SGD, in both."""
    momentum: float = 0.9
    """Of SGD, in both."""
    clip: float = 1.0
    """Bound on the gradient's norm."""
    random_tasks: int = 200
    """Tasks of norm 1 over which the risk on random tasks is a mean; the same for every arm."""

    def __post_init__(self) -> None:
        for name in ("d", "shots", "batch", "random_tasks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")


class Arm(NamedTuple):
    """What is tuned, by which loss."""

    parts: tuple[str, ...]
    """Of `q` and `v`."""
    few_shot: bool
    """Whether L_FS is added, with the weight lambda_t."""


class Prompts(NamedTuple):
    """Prompts of one length."""

    tokens: Tensor
    """1, x, y, (B, n+1, d+2); the query is the last, with a 0 for its y."""
    y: Tensor
    """The query's, (B,)."""


ARMS = {
    "ZS (all)": Arm(("q", "v"), few_shot=False),
    "ZS+FS (all)": Arm(("q", "v"), few_shot=True),
    "ZS (Q)": Arm(("q",), few_shot=False),
    "ZS (V)": Arm(("v",), few_shot=False),
    "ZS+FS (V)": Arm(("v",), few_shot=True),
}
TASKS = ("target", "opposite", "random")
"""theta_0, -theta_0, and tasks that have nothing to do with it."""


def measure(task: str, shots: int) -> str:
    """The name of a risk in the rows."""
    return f"{task}, {shots} shots"


def run(seed: int, setup: Linear | None = None) -> dict[str, dict[str, float]]:
    """Pretrain, tune every arm, and measure the risk on each of `TASKS` after 0 to n examples.

    Args:
        seed: Of first weights, prompts and theta_0.
        setup: The specification's by default.

    Returns:
        For each arm its risks by `measure`, and of `theory` what the closed forms say beside what training found.
    """
    setup = setup or Linear()
    draw = torch.Generator().manual_seed(seed)
    first = {
        "q": setup.start * torch.randn(setup.d + 2, setup.d + 2, generator=draw),
        "v": setup.start * torch.randn(setup.d + 2, generator=draw),
    }
    theta_0, *others = _unit(torch.randn(1 + setup.random_tasks, setup.d, generator=draw))
    began = trained(first, ("q", "v"), setup, setup.pretrain_steps, lambda w, _: loss(w, prompts(setup, draw)))
    models = {PRETRAINED: began}
    for name, arm in ARMS.items():
        draw = torch.Generator().manual_seed(seed + 1_000_000)  # arms of one loss see the same prompts
        models[name] = trained(began, arm.parts, setup, setup.tune_steps, _tuning(arm, theta_0, setup, draw))
    weights = {name: _weights(model) for name, model in models.items()}
    tasks = {"target": [theta_0], "opposite": [-theta_0], "random": others}
    arms = {name: dict(_risks(each, tasks, setup)) for name, each in weights.items()}
    arms["theory"] = _checks(weights, theta_0.double().numpy(), theory.isotropic(setup.d, setup.noise), setup.shots)
    return arms


def _tuning(arm: Arm, theta_0: Tensor, setup: Linear, draw: torch.Generator) -> Loss:
    """An arm's loss."""

    def of(weights: Model, step: int) -> Tensor:
        drawn = prompts(setup, draw, theta_0, setup.shots if arm.few_shot else 0)
        alone = loss(weights, Prompts(drawn.tokens[:, -1:], drawn.y))
        if not arm.few_shot:
            return alone
        return alone + theory.few_shot_weight(step, setup.tune_steps) * loss(weights, drawn)

    return of


def trained(start: Model, parts: Sequence[str], setup: Linear, steps: int, loss: Loss) -> Model:
    """New weights after SGD on some of them; `start` stays as it is."""
    weights = {name: each.clone() for name, each in start.items()}
    moving = [weights[name].requires_grad_() for name in parts]
    optimizer = torch.optim.SGD(moving, lr=setup.learning_rate, momentum=setup.momentum)
    for step in range(steps):
        optimizer.zero_grad()
        loss(weights, step).backward()
        torch.nn.utils.clip_grad_norm_(moving, setup.clip)
        optimizer.step()
    return {name: each.detach() for name, each in weights.items()}


def prompts(setup: Linear, draw: torch.Generator, theta: Tensor | None = None, shots: int | None = None) -> Prompts:
    """Prompts of a task (d,), or where there is none each of a task of its own; `setup.shots` examples by default."""
    tokens = 1 + (setup.shots if shots is None else shots)
    if theta is None:
        theta = _unit(torch.randn(setup.batch, setup.d, generator=draw))
    x = torch.randn(setup.batch, tokens, setup.d, generator=draw)
    noise = math.sqrt(setup.noise) * torch.randn(setup.batch, tokens, generator=draw)
    y = (x @ theta.expand(setup.batch, setup.d)[:, :, None])[..., 0] + noise
    known = torch.cat([y[:, :-1], torch.zeros(setup.batch, 1)], 1)
    return Prompts(torch.cat([torch.ones(setup.batch, tokens, 1), x, known[..., None]], -1), y[:, -1])


def loss(weights: Model, prompts: Prompts) -> Tensor:
    """Mean squared error on the query."""
    tokens, y = prompts
    scores = (tokens @ (tokens[:, -1] @ weights["q"])[:, :, None])[..., 0]
    return ((scores * (tokens @ weights["v"])).mean(1) - y).square().mean()


def _risks(weights: theory.Weights, tasks: dict[str, list[Tensor]], setup: Linear) -> Iterator[tuple[str, float]]:
    data = theory.isotropic(setup.d, setup.noise)
    for task, thetas in tasks.items():
        listed = [each.double().numpy() for each in thetas]
        for shots in range(setup.shots + 1):
            mean = float(np.mean([theory.risk(weights, shots, each, data) for each in listed]))
            yield measure(task, shots), mean


def _checks(weights: dict[str, theory.Weights], theta_0: np.ndarray, data: theory.Data, n: int) -> dict[str, float]:
    """What the closed forms say of a, c and w, and what training found; products that a flip of signs keeps."""

    def scale(of: theory.Weights) -> float:
        return float(np.trace(of.q[1:-1, 1:-1])) / data.d

    start, tuned, mixed = weights[PRETRAINED], weights["ZS (all)"], weights["ZS+FS (V)"]
    return {
        "a, trained": scale(start) * float(start.v[-1]),
        "a, in theory": theory.best_a(n, data),
        "c, trained": abs(float(tuned.v[1:-1] @ theta_0)),
        "c, by gradient flow": theory.flow_c(theta_0, theory.balance(start)),
        "w, trained": scale(mixed) * float(mixed.v[-1]),
        "w, in theory": theory.best_w(n, theta_0, theta_0, data),
    }


def _weights(model: Model) -> theory.Weights:
    return theory.Weights(model["q"].double().numpy(), model["v"].double().numpy())


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)
