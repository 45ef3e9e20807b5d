"""What every recipe must do, one behaviour per test."""

import json
import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.rl import Normalizer, Recipe, Settings, Table, grpo, policy_loss
from rl.cases import CASES, leaf, overwrite, random_live, select, slow_gradients, slow_loss, value_and_gradients

every_recipe = pytest.mark.parametrize("name", CASES)


def table(rewards: torch.Tensor, group: torch.Tensor) -> Table:
    """Answers of one token each, with their texts."""
    texts = [str(int(g)) for g in group]
    correct = (rewards > 0).to(rewards.dtype)
    return Table(rewards, group, correct, texts, torch.ones_like(group), prompts=texts, completions=texts)


@every_recipe
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_and_gradient_agree_with_the_papers_written_out_in_python(name, seed):
    recipe, equations = CASES[name]
    live = random_live(seed)
    value, gradients = value_and_gradients(recipe, live)
    assert value.item() == pytest.approx(slow_loss(equations, live, live.logp, live.entropy), abs=1e-12)
    torch.testing.assert_close(gradients, slow_gradients(equations, live), atol=1e-8, rtol=1e-6)
    assert bool(gradients[1].any()) == (equations.explore == "ME"), "only ME passes a gradient to the entropy"


@every_recipe
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("reward", [0.1, -1.3, 1e-3, 7.7, 300.0])
def test_equal_rewards_give_exactly_zero_advantage(name, dtype, reward):
    """Seven rows of 0.1 do not sum to 0.7 in binary, so a deviation computed from the mean is not 0."""
    rewards = torch.full((7,), reward, dtype=dtype)
    advantages = CASES[name].recipe.credit(table(rewards, torch.zeros(7).long())).advantages
    assert advantages.dtype == dtype
    assert torch.equal(advantages, torch.zeros(7, dtype=dtype))


@every_recipe
@pytest.mark.parametrize("garbage", [-40.0, 1000.0, math.inf, -math.inf, math.nan])
def test_masked_tokens_get_exactly_no_gradient_and_give_none(name, garbage):
    recipe, live = CASES[name].recipe, random_live(2)
    value, gradient = value_and_gradients(recipe, live)
    masked = live.mask == 0
    assert masked.any()
    assert (gradient[:, ~masked] != 0).any()
    other_value, other = value_and_gradients(recipe, overwrite(live, masked, garbage))
    assert torch.equal(other[:, masked], torch.zeros_like(other[:, masked]))
    assert torch.equal(other[:, ~masked], gradient[:, ~masked])
    assert torch.equal(other_value, value)


@every_recipe
@pytest.mark.parametrize("garbage", [-40.0, math.inf, -math.inf, math.nan])
def test_unscored_rows_get_exactly_no_gradient_and_give_none(name, garbage):
    recipe, live = CASES[name].recipe, random_live(3)
    live = replace(live, columns={**live.columns, "scored": torch.tensor([1, 1, 0, 1, 0, 1]).double()})
    unscored = (live.columns["scored"] == 0).unsqueeze(1).expand_as(live.mask)
    value, gradient = value_and_gradients(recipe, live)
    assert (gradient[:, ~unscored] != 0).any()
    other_value, other = value_and_gradients(recipe, overwrite(live, unscored, garbage))
    for found in (gradient, other):
        assert torch.equal(found[:, unscored], torch.zeros_like(found[:, unscored]))
    assert torch.equal(other[:, ~unscored], gradient[:, ~unscored])
    assert torch.equal(other_value, value)


@every_recipe
def test_a_step_without_any_scored_row_is_exactly_zero(name):
    live = random_live(3)
    live = replace(live, columns={**live.columns, "scored": torch.zeros(6).double()})
    value, gradient = value_and_gradients(CASES[name].recipe, live)
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@every_recipe
@given(seed=st.integers(0, 999), extra=st.integers(1, 4))
@settings(max_examples=8)
def test_padding_does_not_change_the_loss(name, seed, extra):
    recipe, live = CASES[name].recipe, random_live(seed)

    def padded(x, value):
        return torch.cat([x.detach(), torch.full((x.shape[0], extra), value).to(x)], dim=1)

    wide = replace(
        live,
        logp=leaf(padded(live.logp, -3.0)),
        logp_old=padded(live.logp_old, -1.0),
        mask=padded(live.mask, 0.0),
        advantages=padded(live.advantages, 5.0),
        entropy=leaf(padded(live.entropy, 1.0)),
        logp_ref=padded(live.logp_ref, -9.0),
        scores={"teacher": padded(live.scores["teacher"], -7.0)},
        is_end=padded(live.is_end, False),
    )
    value, gradient = value_and_gradients(recipe, live)
    wide_value, wide_gradient = value_and_gradients(recipe, wide)
    torch.testing.assert_close(wide_value, value, atol=1e-13, rtol=0)
    torch.testing.assert_close(wide_gradient[..., :5], gradient, atol=1e-13, rtol=0)


@every_recipe
@given(seed=st.integers(0, 999), cut=st.integers(1, 5))
@settings(max_examples=8)
def test_splitting_a_step_into_micro_batches_does_not_change_its_gradient(name, seed, cut):
    recipe, live = CASES[name].recipe, random_live(seed)
    whole = Normalizer.of(live.mask)
    value, gradient = value_and_gradients(recipe, live)
    parts = [value_and_gradients(recipe, select(live, s), whole) for s in (slice(0, cut), slice(cut, None))]
    torch.testing.assert_close(sum(v for v, _ in parts), value, atol=1e-13, rtol=0)
    torch.testing.assert_close(torch.cat([g for _, g in parts], dim=1), gradient, atol=1e-13, rtol=0)


@every_recipe
@given(seed=st.integers(0, 999), order=st.permutations(range(6)))
@settings(max_examples=8)
def test_the_order_of_rows_does_not_matter(name, seed, order):
    recipe, live = CASES[name].recipe, random_live(seed)
    order = torch.tensor(order)
    value, gradient = value_and_gradients(recipe, live)
    other_value, other = value_and_gradients(recipe, select(live, order))
    torch.testing.assert_close(other_value, value, atol=1e-13, rtol=0)
    torch.testing.assert_close(other, gradient[:, order], atol=1e-13, rtol=0)


@every_recipe
def test_metrics_merge_over_micro_batches(name):
    recipe, live = CASES[name].recipe, random_live(5)
    whole = policy_loss(recipe, live).metrics
    parts = [policy_loss(recipe, select(live, s)).metrics for s in (slice(0, 2), slice(2, None))]
    for key, mean in whole.items():
        assert sum(part[key].total for part in parts).item() == pytest.approx(mean.total.item())
        assert sum(part[key].count for part in parts).item() == mean.count.item()


@every_recipe
def test_unscored_rows_get_advantage_zero_and_leave_the_others_alone(name):
    recipe = CASES[name].recipe
    rewards, group = torch.tensor([1.0, 0.0, float("nan"), 2.0, 0.0, 1.0]), torch.tensor([0, 0, 0, 1, 1, 1])
    credit = recipe.credit(table(rewards, group))
    kept = ~rewards.isnan()
    assert torch.equal(credit.columns["scored"], kept.float())
    assert credit.advantages[2] == 0
    alone = recipe.credit(table(rewards[kept], group[kept]))
    torch.testing.assert_close(credit.advantages[kept], alone.advantages)


@every_recipe
def test_state_survives_json(name):
    recipe = CASES[name].recipe
    one = table(torch.tensor([1.0, 0.0, 0.5, 0.5]), torch.tensor([0, 0, 1, 1]))
    state = recipe.remember(one, recipe.initial_state()).state
    restored = json.loads(json.dumps(state))
    assert restored == state
    a, b = recipe.credit(one, state), recipe.credit(one, restored)
    assert recipe.remember(one, state) == recipe.remember(one, restored)
    assert torch.equal(a.advantages, b.advantages)


@every_recipe
def test_composition_with_plain_grpo_changes_nothing(name):
    recipe = CASES[name].recipe
    assert recipe | grpo() == recipe
    assert grpo() | recipe == recipe


@every_recipe
def test_describe_lists_every_field_with_the_value_that_is_used(name):
    recipe: Recipe = CASES[name].recipe
    described = recipe.describe()
    listed = {(key, value) for key, value, _ in described}
    for part in (recipe.base, *recipe.methods):
        for field in fields(part):
            if part is recipe.base and recipe.fills("credit") and field.name in ("spread", "epsilon"):
                continue  # of GRPO's own credit
            if field.name in {f.name for f in fields(Settings)}:
                value = getattr(recipe.settings, field.name)
            else:
                value = getattr(part, field.name)
            assert (field.name, value) in listed
    assert all(source for _, _, source in described)
    assert len({(key, source) for key, _, source in described}) == len(described)


@every_recipe
def test_every_setting_is_resolved(name):
    assert None not in CASES[name].recipe.settings.given().values()
    assert set(CASES[name].recipe.settings.given()) == {f.name for f in fields(Settings)}


@every_recipe
def test_the_loss_keeps_the_float_type(name):
    live = random_live(0)
    single = replace(
        live,
        logp=leaf(live.logp.float()),
        logp_old=live.logp_old.float(),
        mask=live.mask.float(),
        advantages=live.advantages.float(),
        entropy=leaf(live.entropy.float()),
        logp_ref=live.logp_ref.float(),
        scores={"teacher": live.scores["teacher"].float()},
        columns={key: value.float() for key, value in live.columns.items()},
    )
    value, gradient = value_and_gradients(CASES[name].recipe, single)
    double_value, double = value_and_gradients(CASES[name].recipe, live)
    assert value.dtype == gradient.dtype == torch.float32
    assert value.item() == pytest.approx(double_value.item(), abs=1e-5)
    torch.testing.assert_close(gradient.double(), double, atol=1e-5, rtol=1e-4)
