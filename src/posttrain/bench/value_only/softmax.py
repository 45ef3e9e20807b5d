"""A small softmax transformer: does tuning values alone keep context learning beyond the linear theory?

A causal transformer is trained from nothing on in-context regression: a start token, then x_1, y_1, x_2, y_2, ... with
y = theta'x, x and theta standard normal in two dimensions; at each x it answers y, so that a prompt of ten examples
asks for zero to ten shots at once. It is then tuned on one task theta_0, |theta_0|^2 = 2, with a LoRA on some of its
attention projections, by the zero-shot loss, to which the few-shot loss with the weight lambda_t may be added.

With the start token a query without examples still has two tokens to look at, so that queries and keys can learn from
the zero-shot loss; `start_token=False` leaves one, whose softmax is 1 whatever they are.

Arms that are compared have equally many trained numbers: rank 8 on four projections, 16 on two, or 32 on one; and 2 on
four beside 8 on one. The learning rate is the arm's own: `RATES`, chosen on seeds 0 to 2 by `choose`. And as an arm
could look better for having moved less, each is also measured at equal success: when its zero-shot error on the target
has first fallen to 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posttrain.bench.value_only.transformer import Regressor, Shape, adapted, moved
from posttrain.tune.theory import few_shot_weight

NONE = "none"
TASKS = ("target", "opposite", "random")
"""theta_0, -theta_0, and tasks that have nothing to do with it."""


@dataclass(frozen=True)
class Softmax:
    """The experiment."""

    shape: Shape = field(default_factory=Shape)
    """Of the model."""
    batch: int = 32
    """Prompts per step of pretraining."""
    pretrain_steps: int = 5000
    """Of Adam."""
    pretrain_rate: float = 3e-3
    """Reached after 300 steps, and falling to 0 along a cosine."""
    tune_batch: int = 64
    """Prompts per step of an arm's tuning."""
    tune_steps: int = 800
    """Of Adam, at the arm's rate."""
    matched: float = 0.05
    """Share of the first zero-shot error on the target at which arms are compared at equal success."""
    look_every: int = 10
    """Steps between looks at that error."""
    prompts: int = 2048
    """Of each evaluation; the same for every arm."""

    def __post_init__(self) -> None:
        if not 0 < self.matched < 1:
            raise ValueError(f"matched={self.matched} is a share of the first error; it must lie in (0, 1).")


class Arm(NamedTuple):
    """What is tuned, by which loss."""

    parts: str
    """Letters of `qkvo`."""
    rank: int
    """Of the LoRA."""
    few_shot: Literal["no", "target", "random"] = "no"
    """The few-shot loss that is added: none; the paper's, on the target with weight lambda_t; or one on random tasks
    with weight 1, as of pretraining: rehearsal, for which one needs the old tasks."""


ARMS = {
    "q, k": Arm("qk", 16),
    "all": Arm("qkvo", 8),
    "v, o": Arm("vo", 16),
    "v": Arm("v", 32),
    "all, fewer": Arm("qkvo", 2),
    "v, fewer": Arm("v", 8),
    "all + few-shot": Arm("qkvo", 8, "target"),
    "v + few-shot": Arm("v", 32, "target"),
    "all + rehearsal": Arm("qkvo", 8, "random"),
    "v + rehearsal": Arm("v", 32, "random"),
}
GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
"""Learning rates of Adam that were tried."""
RATES: dict[bool, dict[str, float]] = {
    True: {
        "q, k": 0.001,
        "all": 0.0001,
        "v, o": 0.0001,
        "v": 0.0001,
        "all, fewer": 0.0003,
        "v, fewer": 0.0003,
        "all + few-shot": 0.0001,
        "v + few-shot": 0.0001,
        "all + rehearsal": 0.003,
        "v + rehearsal": 0.001,
    },
    False: {
        "q, k": 3e-05,
        "all": 0.0003,
        "v, o": 0.0001,
        "v": 0.0001,
        "all, fewer": 0.001,
        "v, fewer": 0.0003,
        "all + few-shot": 0.0003,
        "v + few-shot": 0.0003,
        "all + rehearsal": 0.003,
        "v + rehearsal": 0.003,
    },
}
"""Learning rates of the arms, with a start token and without (results/tuning/value-only-softmax*.json)."""
LEARNT = 0.01
"""A rate learns the target if it brings the zero-shot error to this share of what it was."""

Case = tuple[Arm, float]
"""An arm and its learning rate."""


class Prompts(NamedTuple):
    """Prompts that end with a query."""

    x: Tensor
    """(B, n+1, d)."""
    y: Tensor
    """(B, n+1)."""


def measure(task: str, shots: int) -> str:
    """The name of an error in the rows."""
    return f"{task}, {shots} shots"


def cases(setup: Softmax) -> dict[str, Case]:
    """Every arm at its own rate."""
    return {name: (arm, RATES[setup.shape.start_token][name]) for name, arm in ARMS.items()}


def grid() -> dict[str, Case]:
    """Every arm at every rate of `GRID`."""
    return {_at(name, rate): (arm, rate) for name, arm in ARMS.items() for rate in GRID}


def choose(result: Mapping[str, Any]) -> dict[str, Any]:
    """The rate of each arm, from a result of `grid`: among those that learn the target, what forgets least.

    Returns:
        `chosen`, arms to rates: a rate learns the target if its mean zero-shot error there is at most `LEARNT` times
        the pretrained model's; of these it is the one with the least error on random tasks at all shots, and where
        there are none the one with the least error on the target. `errors`, arms to rates to both errors.
    """
    target, other = measure("target", 0), measure("random", result["setup"]["shape"]["shots"])
    bar = LEARNT * result["arms"][NONE]["measured"][target]["mean"]
    chosen, errors = {}, {}
    for name in ARMS:
        cells = {rate: result["arms"][_at(name, rate)]["measured"] for rate in GRID}
        errors[name] = {f"{r:g}": [round(cell[key]["mean"], 4) for key in (target, other)] for r, cell in cells.items()}
        able = [rate for rate in GRID if cells[rate][target]["mean"] <= bar]
        key = other if able else target
        chosen[name] = min(able or GRID, key=lambda rate, key=key, cells=cells: cells[rate][key]["mean"])
    return {"chosen": chosen, "errors": errors}


def run(seed: int, setup: Softmax | None = None, arms: Mapping[str, Case] | None = None) -> dict[str, dict[str, float]]:
    """Pretrain, tune every arm, and measure its squared error on each of `TASKS` after 0 to n examples.

    Args:
        seed: Of first weights, prompts and theta_0.
        setup: The defaults by default.
        arms: Names to arms and rates; `cases` by default.

    Returns:
        For each arm, and for the pretrained model (`none`), the errors by `measure`; `matched: ...` the errors at equal
        success, `steps` how many it took, `learnt` 1 where it was had (else they are of the end); `moved` the change of
        the attention weights as a share of them.
    """
    setup, draw = setup or Softmax(), torch.Generator().manual_seed(seed)
    theta_0 = torch.randn(setup.shape.d, generator=draw)
    theta_0 = math.sqrt(setup.shape.d) * theta_0 / theta_0.norm()
    tests = {
        "target": _prompts(setup, draw, setup.prompts, theta_0),
        "opposite": _prompts(setup, draw, setup.prompts, -theta_0),
        "random": _prompts(setup, draw, setup.prompts),
    }
    began = _pretrained(setup, seed, draw)
    rows = {NONE: dict(_errors(began, tests)) | dict(_matched(began, tests, setup, 0)) | {"moved": 0.0}}
    for name, (arm, rate) in (cases(setup) if arms is None else arms).items():
        rows[name] = _tuned(began, arm, rate, theta_0, tests, setup, seed)
    return rows


def _pretrained(setup: Softmax, seed: int, draw: torch.Generator) -> Regressor:
    """Trained on tasks of all kinds, all shots at once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Regressor(setup.shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=setup.pretrain_rate)
    for step in range(setup.pretrain_steps):
        pace = min(1.0, (step + 1) / 300) * (1 + math.cos(math.pi * step / setup.pretrain_steps)) / 2
        optimizer.param_groups[0]["lr"] = pace * setup.pretrain_rate
        _step(model, optimizer, losses(model, _prompts(setup, draw, setup.batch)).mean())
    return model


def _tuned(
    began: Regressor, arm: Arm, rate: float, theta_0: Tensor, tests: Mapping[str, Prompts], setup: Softmax, seed: int
) -> dict[str, float]:  # fmt: skip
    """What an arm makes of the target and of the rest; all arms see the same prompts of the target."""
    first, draw, old = (torch.Generator().manual_seed(seed + k * 1_000_000) for k in (1, 2, 3))
    model = adapted(began, arm.parts, arm.rank, first)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=rate)
    alone = Prompts(tests["target"].x[:, -1:], tests["target"].y[:, -1:])
    bar, matched = setup.matched * float(_errors_of(began, alone)), {}
    for step in range(setup.tune_steps):
        prompts = _prompts(setup, draw, setup.tune_batch, theta_0)
        if arm.few_shot != "target":
            prompts = Prompts(prompts.x[:, -1:], prompts.y[:, -1:])
        by_shots = losses(model, prompts).mean(0)
        loss = by_shots[0]
        if arm.few_shot == "target":
            loss = loss + few_shot_weight(step, setup.tune_steps) * by_shots[-1]
        elif arm.few_shot == "random":
            loss = loss + losses(model, _prompts(setup, old, setup.tune_batch)).mean()
        _step(model, optimizer, loss)
        if not matched and (step + 1) % setup.look_every == 0 and float(_errors_of(model, alone)) <= bar:
            matched = dict(_matched(model, tests, setup, step + 1, learnt=True))
    matched = matched or dict(_matched(model, tests, setup, setup.tune_steps))
    return dict(_errors(model, tests)) | matched | {"moved": moved(model)}


def _step(model: Regressor, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _prompts(setup: Softmax, draw: torch.Generator, many: int, theta: Tensor | None = None) -> Prompts:
    """Without `theta` each prompt has a task of its own."""
    d = setup.shape.d
    tasks = torch.randn(many, d, generator=draw) if theta is None else theta.expand(many, d)
    x = torch.randn(many, setup.shape.shots + 1, d, generator=draw)
    return Prompts(x, (x @ tasks[:, :, None])[..., 0])


def losses(model: Regressor, prompts: Prompts) -> Tensor:
    """Squared errors after 0 to n examples, (B, n+1)."""
    return (model(prompts.x, prompts.y[:, :-1]) - prompts.y).square()


@torch.no_grad()
def _errors_of(model: Regressor, prompts: Prompts) -> Tensor:
    """Their means, (n+1,)."""
    return losses(model, prompts).mean(0)


def _errors(model: Regressor, tests: Mapping[str, Prompts]) -> Iterator[tuple[str, float]]:
    for task, prompts in tests.items():
        for shots, error in enumerate(_errors_of(model, prompts).tolist()):
            yield measure(task, shots), error


def _matched(
    model: Regressor, tests: Mapping[str, Prompts], setup: Softmax, steps: int, *, learnt: bool = False
) -> Iterator[tuple[str, float]]:
    for task, prompts in tests.items():
        yield f"matched: {measure(task, setup.shape.shots)}", float(_errors_of(model, prompts)[-1])
    yield "steps", float(steps)
    yield "learnt", float(learnt)


def _at(name: str, rate: float) -> str:
    return f"{name} at {rate:g}"
