"""Length-Penalty, LC-R1's reward and the entropy bonus, against arithmetic by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import Recipe, Table, kdrl, policy_loss
from posttrain.rl.baselines.entropy_bonus import EntropyBonus
from posttrain.rl.baselines.length_penalty import LCR1, LengthPenalty
from posttrain.rl.math import annealed
from rl.cases import random_live

NAN = math.nan


def table(correct, length, group=None, rewards=None, extra=None) -> Table:
    """Prompts by group; the reward is the correctness unless given."""
    group = [0] * len(correct) if group is None else group
    return Table(
        torch.tensor(correct if rewards is None else rewards, dtype=torch.float64),
        torch.tensor(group),
        torch.tensor(correct, dtype=torch.float64),
        [f"prompt {g}" for g in group],
        torch.tensor(length),
        extra=None if extra is None else torch.tensor(extra),
    )


def advantages(method, *args, **fields) -> list[float]:
    return Recipe.of(method).credit(table(*args, **fields)).advantages.tolist()


def centred(values) -> list[float]:
    return [v - sum(values) / len(values) for v in values]


def sigmoid(z) -> float:
    return 1 / (1 + math.exp(-z))


# -- Length-Penalty -----------------------------------------------------------------------------------------------


def test_length_penalty_by_hand():
    """Correct lengths 10, 20, 30: mean 20, deviation sqrt(200 / 3); z = -sqrt(3/2), 0, sqrt(3/2)."""
    z = math.sqrt(1.5)
    rewards = [1 - 0.2 * sigmoid(-z), 1 - 0.2 * 0.5, 1 - 0.2 * sigmoid(z), 0.0]
    found = advantages(LengthPenalty(alpha=0.2), [1.0, 1.0, 1.0, 0.0], [10, 20, 30, 5])
    assert found == pytest.approx(centred(rewards))


@pytest.mark.parametrize("length", [[7, 99, 99], [40, 40, 3]])
@pytest.mark.parametrize("correct", [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
def test_one_correct_answer_or_equal_lengths_lie_at_the_mean(correct, length):
    """sigmoid(0) = 1/2, with no division by a deviation of 0; two answers of 7 and 99 are not equal."""
    taken = 0.1 * 0.5
    if sum(correct) == 2 and length[0] != length[1]:
        rewards = [1 - 0.1 * sigmoid(-1), 1 - 0.1 * sigmoid(1), 0.0]  # two values are one deviation from their mean
    else:
        rewards = [c * (1 - taken) for c in correct]
    assert advantages(LengthPenalty(alpha=0.1), correct, length) == pytest.approx(centred(rewards))


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 10**6)), min_size=1, max_size=8),
    alpha=st.floats(0, 0.99),
)
def test_length_penalty_keeps_every_correct_answer_above_every_wrong_one(rows, alpha):
    correct, length = [float(c) for c, _ in rows], [n for _, n in rows]
    found = advantages(LengthPenalty(alpha=alpha), correct, length)
    right = [a for a, c in zip(found, correct, strict=True) if c]
    wrong = [a for a, c in zip(found, correct, strict=True) if not c]
    assert all(math.isfinite(a) for a in found)
    if right and wrong:
        assert min(right) > max(wrong)


def test_length_penalty_at_alpha_0_is_the_reward_minus_its_mean():
    assert advantages(LengthPenalty(alpha=0.0), [1.0, 0.0, 0.0, 1.0], [1, 2, 3, 4]) == [0.5, -0.5, -0.5, 0.5]


def test_length_penalty_compares_within_a_group():
    """Group 0 holds lengths 10 and 20, group 1 holds 1000 and 1001: in each, one below and one above."""
    found = advantages(LengthPenalty(), [1.0] * 4, [10, 20, 1000, 1001], group=[0, 0, 1, 1])
    gain = 0.05 * (sigmoid(1) - sigmoid(-1))
    assert found == pytest.approx([gain, -gain, gain, -gain], abs=1e-6)


# -- LC-R1 --------------------------------------------------------------------------------------------------------


def test_lc_r1_by_hand():
    """The longest correct answer has 40 tokens: l = 0, 0.75, 0.5 and, wrong and longer, -0.5. Rewards 1, 1.75, 0.5
    and -0.5, mean 0.6875.
    """
    correct, length = [1.0, 1.0, 0.0, 0.0], [40, 10, 20, 60]
    assert advantages(LCR1(), correct, length) == pytest.approx([0.3125, 1.0625, -0.1875, -1.1875])
    half = centred([1.0, 1.375, 0.25, -0.25])
    assert advantages(LCR1(c=0.5), correct, length) == pytest.approx(half)


def test_lc_r1_has_no_length_term_without_a_correct_answer():
    assert advantages(LCR1(), [0.0, 0.0], [3, 90]) == [0, 0]
    mixed = advantages(LCR1(), [0.0, 0.0, 1.0, 1.0], [3, 90, 10, 5], group=[0, 0, 1, 1])
    assert mixed == pytest.approx([0, 0, -0.25, 0.25])


def test_lc_r1_survives_an_empty_correct_answer():
    """It counts as one token, so a wrong answer of 3 tokens gets 1 - 3 = -2."""
    assert advantages(LCR1(), [1.0, 0.0], [0, 3]) == pytest.approx(centred([1.0, -2.0]))


def test_lc_r1_keeps_other_rewards():
    """Format rewards of 1 add to all rows and cancel in the mean; a missing one stays missing."""
    found = advantages(LCR1(), [1.0, 0.0, 0.0], [10, 10, 10], rewards=[2.0, 1.0, 0.0])
    assert found == pytest.approx([1.0, 0.0, -1.0])


# -- both ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [LengthPenalty(alpha=0.5), LCR1()], ids=lambda m: m.name)
@pytest.mark.parametrize(
    ("correct", "reward", "extra"),
    [(NAN, NAN, False), (1.0, NAN, False), (NAN, 0.25, False), (NAN, 0.25, True)],
    ids=["unscored", "right but unscored", "unknown", "extra"],
)
def test_rows_that_do_not_count_enter_no_mean_and_no_maximum(method, correct, reward, extra):
    """Their length of 10^6 would show. A scored one still gets its reward minus the mean of its group."""
    length = [10, 30, 20]
    plain = table([1.0, 1.0, 0.0], length)
    alone = method.credit(plain, None)
    more = table(
        [1.0, 1.0, 0.0, correct], [*length, 10**6], rewards=[1.0, 1.0, 0.0, reward], extra=[False] * 3 + [extra]
    )
    together = Recipe.of(method).credit(more)
    assert together.metrics == alone.metrics
    scored = together.advantages[:3] if math.isnan(reward) else together.advantages
    assert scored.sum().item() == pytest.approx(0, abs=1e-12)
    gaps = together.advantages[:3] - together.advantages[0]
    torch.testing.assert_close(gaps, alone.advantages - alone.advantages[0])
    if math.isnan(reward):
        assert together.advantages[3] == 0
    else:
        wrong = 0.0 if method.name == "length_penalty" else 1 - 20 / 30
        assert (together.advantages[3] - together.advantages[2]).item() == pytest.approx(0.25 - wrong)


@pytest.mark.parametrize("method", [LengthPenalty(alpha=0.5), LCR1()], ids=lambda m: m.name)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(1, 999), st.integers(0, 2)), min_size=1, max_size=9),
    shift=st.randoms(use_true_random=False),
)
def test_the_order_of_rows_does_not_matter(method, rows, shift):
    order = list(range(len(rows)))
    shift.shuffle(order)
    columns = ([float(c) for c, _, _ in rows], [n for _, n, _ in rows], [g for _, _, g in rows])
    straight = advantages(method, *columns)
    shuffled = advantages(method, *[[column[i] for i in order] for column in columns])
    assert shuffled == pytest.approx([straight[i] for i in order], abs=1e-12)


# -- the entropy bonus --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregation", ["token", "sequence"])
@pytest.mark.parametrize(("anneal", "factor"), [("cosine", 0.5), ("constant", 1.0)])
def test_the_entropy_bonus_is_the_weighted_mean_entropy(aggregation, anneal, factor):
    """Half way through the run. Its gradient is -weight / tokens on each trained token, or that of a mean of means."""
    live = random_live(0)
    live = replace(live, entropy=live.entropy.clone().requires_grad_(), advantages=torch.zeros_like(live.advantages))
    recipe = kdrl("t", beta=0.0, aggregation=aggregation) | EntropyBonus(weight=0.3, anneal=anneal)
    (gradient,) = torch.autograd.grad(policy_loss(recipe, live).value, live.entropy)
    per_row = live.mask.sum(1, keepdim=True) * live.mask.shape[0]
    expected = live.mask / (live.mask.sum() if aggregation == "token" else per_row)
    torch.testing.assert_close(gradient, -0.3 * factor * expected)


def test_the_entropy_bonus_adds_to_a_length_method():
    recipe = LengthPenalty() | EntropyBonus()
    assert recipe.name == "length_penalty|entropy_bonus"
    assert recipe.owner("credit").name == "length_penalty"


@given(total=st.integers(1, 10**6), share=st.floats(0, 1), later=st.floats(0, 1))
def test_annealing_falls_from_one_to_zero(total, share, later):
    first, second = sorted((int(share * total), int(later * total)))
    assert 1 >= annealed("cosine", first, total) >= annealed("cosine", second, total) >= 0
    assert annealed("cosine", 0, total) == 1
    assert annealed("cosine", total, total) == annealed("cosine", total + 7, total) == 0
    assert annealed("cosine", total, 2 * total) == pytest.approx(0.5)
    assert annealed("constant", first, 0) == 1


# -- impossible values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "settings", "advice"),
    [
        (LengthPenalty, {"alpha": 1.0}, r"alpha=1.0 must lie in \[0, 1\)"),
        (LengthPenalty, {"alpha": -0.1}, r"alpha=-0.1 must lie in \[0, 1\)"),
        (LengthPenalty, {"alpha": NAN}, r"alpha=nan must lie in \[0, 1\)"),
        (LCR1, {"c": -1.0}, "c=-1.0 must be finite and not negative"),
        (LCR1, {"c": math.inf}, "c=inf must be finite"),
        (EntropyBonus, {"weight": -1.0}, "weight=-1.0 must be finite and not negative"),
        (EntropyBonus, {"anneal": "linear"}, "anneal='linear' is unknown; use 'cosine' or 'constant'"),
    ],
    ids=str,
)
def test_an_invalid_value_is_named_with_what_to_do(method, settings, advice):
    with pytest.raises(ValueError, match=advice):
        method(**settings)
