"""Rewards that are missing, wrong or infinite: unscored is not zero, and the rest is told."""

import math

import pytest
import torch

import tiny
from engines import runs
from posttrain.rl import grpo, kdrl, rlad
from posttrain.rl.engines.trl import RecipeTrainer


class Probe(RecipeTrainer):
    """Keeps the first micro-batch as the loss saw it."""

    first = None

    def _compute_loss(self, model, inputs):
        if self.first is None:
            self.first = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
        return super()._compute_loss(model, inputs)

    def gradient(self, inputs) -> torch.Tensor:
        """The gradient of a micro-batch in one vector."""
        self.model.train()
        self.model.zero_grad()
        self._compute_loss(self.model, dict(inputs)).backward()
        return torch.cat([p.grad.flatten().clone() for p in self.model.parameters()])


def hidden(value, *, every: int = 4):
    """A reward function that leaves every fourth row without a reward."""

    def partly(completions, **_):
        return [value if i % every == 0 else 0.0 for i in range(len(completions))]

    return partly


def teacher():
    return tiny.model(7, scale=3.0)


RECIPES = {"grpo": lambda: grpo(), "rlad": lambda: rlad(teacher()), "kdrl": lambda: kdrl(teacher(), beta=0.2)}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("value", [math.nan, None], ids=["NaN", "None"])
def test_a_row_that_misses_one_reward_gives_no_gradient_and_is_counted(tmp_path, recipe, value):
    rewards = [tiny.early_letters, hidden(value)]
    probe = runs.trained(tmp_path, RECIPES[recipe](), cls=Probe, rewards=rewards, max_steps=1, learning_rate=1e-9)
    batch = probe.first
    unscored = batch["posttrain.column.scored"] == 0
    assert unscored.sum() == 2
    assert (batch["advantages"][unscored] == 0).all()
    assert (batch["tool_mask"][unscored] == 0).all()
    assert batch["num_items_in_batch"] == batch["completion_mask"][~unscored].sum()
    assert runs.history(probe, "unscored") == [0.25]

    before = probe.gradient(batch)
    assert before.abs().max() > 1e-4
    other = dict(batch, completion_ids=batch["completion_ids"].clone())
    other["completion_ids"][unscored] = (other["completion_ids"][unscored] + 5) % 20
    torch.testing.assert_close(probe.gradient(other), before, atol=1e-7, rtol=1e-5)
    masked = dict(batch, completion_mask=batch["completion_mask"] * ~unscored.unsqueeze(1))
    torch.testing.assert_close(probe.gradient(masked), before, atol=1e-7, rtol=1e-5)


def test_the_rest_of_the_group_is_compared_without_the_unscored_row(tmp_path):
    """Four rewards 0, 0.25, 0.5 and one missing: the mean of the three is 0.25, their deviation sqrt(1/24)."""

    def staircase(completions, **_):
        return [None if i % 4 == 3 else 0.25 * (i % 4) for i in range(len(completions))]

    probe = runs.trained(tmp_path, grpo(), cls=Probe, rewards=staircase, max_steps=1)
    found = sorted(round(a, 3) for a in probe.first["advantages"].tolist())
    high = round(0.25 / math.sqrt(1 / 24), 3)
    assert found == [-high, -high, 0, 0, 0, 0, high, high]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_without_any_reward_changes_nothing(tmp_path, recipe):
    fresh = tiny.model(0, scale=3.0)
    trained = runs.trained(
        tmp_path, RECIPES[recipe](), rewards=hidden(None, every=1), max_steps=2, num_iterations=2, learning_rate=0.1
    )
    assert set(runs.history(trained, "unscored")) == {1.0}
    assert runs.history(trained, "grad_norm") == [0.0, 0.0]
    assert torch.equal(runs.parameters(trained), runs.parameters_of(fresh))


def test_a_missing_value_of_weight_zero_leaves_the_row_in(tmp_path):
    def correct(completions, **_):
        return [None] * len(completions)

    probe = runs.trained(
        tmp_path, grpo(), cls=Probe, rewards=[tiny.early_letters, correct], reward_weights=[1.0, 0.0], max_steps=1
    )
    assert runs.history(probe, "unscored") == [0.0]
    assert probe.first["advantages"].abs().max() > 0


def test_a_wrong_number_of_rewards_names_the_function(tmp_path):
    def short(completions, **_):
        return [1.0] * (len(completions) - 1)

    with pytest.raises(ValueError, match=r"'short' returned 7 rewards, but 8 were expected"):
        runs.trained(tmp_path, grpo(), rewards=[tiny.early_letters, short], max_steps=1)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_reward_names_the_function(tmp_path, value):
    with pytest.raises(ValueError, match="'partly' returned an infinite reward; return a finite one, or None"):
        runs.trained(tmp_path, grpo(), rewards=[tiny.early_letters, hidden(value)], max_steps=1)
