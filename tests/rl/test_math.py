"""Masked means, group statistics, the clipped surrogate and the KL estimators."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl.math import Normalizer, aggregate, clipped_surrogate, group_advantages, group_any, kl, masked_mean

# Multiples of 1/8: sums, shifts and scales by powers of two are exact, so equal rewards stay equal.
rewards_lists = st.lists(st.integers(-80, 80).map(lambda n: n / 8), min_size=2, max_size=12)


@st.composite
def grouped(draw):
    """Rewards and the group of each."""
    rewards = draw(rewards_lists)
    group = draw(st.lists(st.integers(0, 3), min_size=len(rewards), max_size=len(rewards)))
    return torch.tensor(rewards, dtype=torch.float64), torch.tensor(group)


def test_masked_mean_by_hand():
    """(1 + 3) / 2 = 2 in the first row, 5 / 1 in the second, nothing in the third; (1 + 3 + 5) / 3 over all."""
    values = torch.tensor([[1.0, 9.0, 3.0], [5.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 0, 1], [1, 0, 0], [0, 0, 0]])
    assert masked_mean(values, mask, dim=-1).tolist() == [2.0, 5.0, 0.0]
    assert masked_mean(values, mask).item() == 3.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_masked_mean_ignores_whatever_stands_under_a_zero_mask(bad):
    assert masked_mean(torch.tensor([2.0, bad]), torch.tensor([1, 0])).item() == 2.0


def test_group_advantages_by_hand():
    """Rewards 1, 0, 0, 0: mean 1/4, population variance (9 + 1 + 1 + 1) / 64 = 3/16, deviation sqrt(3) / 4.

    So A = (3/4) / (sqrt(3)/4) = sqrt(3) for the first and -1 / sqrt(3) for the others. The sample variance is
    (12/16) / 3 = 1/4, so A = 1.5 and -0.5. Without a deviation A = 0.75 and -0.25.
    """
    rewards, group = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64), torch.zeros(4).long()

    def found(spread):
        return group_advantages(rewards, group, spread=spread, epsilon=0.0).tolist()

    assert found("population") == pytest.approx([math.sqrt(3)] + 3 * [-1 / math.sqrt(3)])
    assert found("sample") == pytest.approx([1.5, -0.5, -0.5, -0.5])
    assert found("none") == [0.75, -0.25, -0.25, -0.25]


def test_epsilon_is_added_to_the_deviation_not_to_the_variance():
    """Rewards 0 and 2 deviate by 1 from 1; with epsilon 1 the divisor is 2."""
    advantages = group_advantages(torch.tensor([0.0, 2.0]), torch.zeros(2).long(), epsilon=1.0)
    assert advantages.tolist() == [-0.5, 0.5]


@given(grouped(), st.sampled_from(["population", "sample", "none"]))
def test_group_advantages_agree_with_the_statistics_module(data, spread):
    rewards, group = data
    found = group_advantages(rewards, group, spread=spread, epsilon=1e-3)
    for i, g in enumerate(group.tolist()):
        members = [r for r, h in zip(rewards.tolist(), group.tolist(), strict=True) if h == g]
        deviation = {
            "population": statistics.pstdev(members) + 1e-3,
            "sample": (statistics.stdev(members) if len(members) > 1 else 0.0) + 1e-3,
            "none": 1.0,
        }[spread]
        assert found[i].item() == pytest.approx((rewards[i].item() - statistics.mean(members)) / deviation, abs=1e-10)


@given(grouped(), st.randoms(use_true_random=False))
def test_group_advantages_follow_a_permutation_of_the_rows(data, random):
    rewards, group = data
    order = list(range(len(rewards)))
    random.shuffle(order)
    torch.testing.assert_close(group_advantages(rewards[order], group[order]), group_advantages(rewards, group)[order])


@given(grouped(), st.permutations([0, 5, -3, 10**12]))
def test_group_advantages_do_not_depend_on_the_labels(data, names):
    rewards, group = data
    renamed = torch.tensor([names[g] for g in group.tolist()])
    assert torch.equal(group_advantages(rewards, renamed), group_advantages(rewards, group))


@given(grouped(), st.integers(-50, 50), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_group_advantages_ignore_shift_and_scale_of_the_rewards(data, shift, scale):
    rewards, group = data
    moved = group_advantages(scale * rewards + shift, group, epsilon=0.0)
    torch.testing.assert_close(moved, group_advantages(rewards, group, epsilon=0.0), atol=1e-9, rtol=1e-9)


@given(grouped())
def test_negating_the_rewards_negates_the_advantages(data):
    rewards, group = data
    torch.testing.assert_close(group_advantages(-rewards, group), -group_advantages(rewards, group))


@given(grouped())
def test_advantages_of_a_mixed_group_have_mean_0_and_variance_1(data):
    rewards, group = data
    found = group_advantages(rewards, group, epsilon=0.0)
    for g in group.unique():
        members = found[group == g]
        assert members.mean().item() == pytest.approx(0.0, abs=1e-9)
        mixed = len(rewards[group == g].unique()) > 1
        assert members.square().mean().item() == pytest.approx(1.0 if mixed else 0.0, abs=1e-9)


@given(grouped(), st.data())
def test_unscored_rows_do_not_enter_the_statistics(data, draw):
    rewards, group = data
    scored = torch.tensor(draw.draw(st.lists(st.booleans(), min_size=len(rewards), max_size=len(rewards))))
    found = group_advantages(torch.where(scored, rewards, math.nan), group)
    assert torch.equal(found[~scored], torch.zeros_like(found[~scored]))
    torch.testing.assert_close(found[scored], group_advantages(rewards[scored], group[scored]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("spread", ["population", "sample", "none"])
@given(reward=st.floats(-1000, 1000), rows=st.integers(1, 9))
def test_equal_rewards_give_exactly_zero(dtype, spread, reward, rows):
    found = group_advantages(torch.full((rows,), reward, dtype=dtype), torch.zeros(rows).long(), spread=spread)
    assert torch.equal(found, torch.zeros(rows, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rewards", [[0.1, 0.1, 0.1, 0.10006], [600.0, 0.0, 0.0, 0.0], [1.0, 0.999, 0.0, 0.0]])
def test_an_advantage_never_exceeds_its_bound_in_any_float_type(dtype, rewards):
    """Of G numbers with mean 0 and population variance 1, the largest is at most sqrt(G - 1)."""
    values = torch.tensor(rewards, dtype=dtype)
    found = group_advantages(values, torch.zeros(4).long())
    assert found.dtype == dtype
    assert found.abs().max() <= math.sqrt(3) * 1.01
    assert (found.abs().max() > 0.5) == (len(values.unique()) > 1)


def test_no_rows_give_no_advantages():
    assert group_advantages(torch.zeros(0), torch.zeros(0).long()).shape == (0,)
    assert group_any(torch.zeros(0), torch.zeros(0).long()).shape == (0,)


def test_group_any_by_hand():
    """Group 7 has a correct row, group 2 only wrong and unknown ones."""
    flags = torch.tensor([0.0, 1.0, math.nan, 0.0, math.nan])
    assert group_any(flags, torch.tensor([7, 7, 7, 2, 2])).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def surrogate_and_gradient(ratio, advantage, **clip):
    log_ratio = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    clip = {"clip_low": 0.2, "clip_high": 0.28} | clip
    found = clipped_surrogate(log_ratio, torch.tensor([[advantage]], dtype=torch.float64), **clip)
    found.objective.sum().backward()
    return found.objective.item(), log_ratio.grad.item(), found.vetoed.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "gradient", "vetoed"),
    [
        (1.0, 2.0, 2.0, 2.0, False),
        (1.27, 2.0, 2.54, 2.54, False),
        (1.29, 2.0, 2.56, 0.0, True),
        (0.5, 2.0, 1.0, 1.0, False),
        (1.0, -2.0, -2.0, -2.0, False),
        (0.81, -2.0, -1.62, -1.62, False),
        (0.79, -2.0, -1.6, 0.0, True),
        (5.0, -2.0, -10.0, -10.0, False),
        (5.0, 0.0, 0.0, 0.0, False),
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, objective, gradient, vetoed):
    """min(r A, clip(r, 0.8, 1.28) A); its slope in log r is r A, or 0 where the clipped side is the smaller."""
    value, slope, veto = surrogate_and_gradient(ratio, advantage)
    assert value == pytest.approx(objective)
    assert slope == pytest.approx(gradient)
    assert veto is vetoed


def test_dual_clip_bounds_negative_advantages():
    """At r = 100 and A = -2 the term is -200; with dual clip 3 it is -6 and has no gradient."""
    assert surrogate_and_gradient(100.0, -2.0) == (pytest.approx(-200.0), pytest.approx(-200.0), False)
    assert surrogate_and_gradient(100.0, -2.0, dual_clip=3.0) == (pytest.approx(-6.0), 0.0, True)
    assert surrogate_and_gradient(2.9, -2.0, dual_clip=3.0) == (pytest.approx(-5.8), pytest.approx(-5.8), False)


@given(st.floats(0.01, 50.0), st.floats(0.01, 5.0))
def test_dual_clip_changes_nothing_for_positive_advantages(ratio, advantage):
    assert surrogate_and_gradient(ratio, advantage, dual_clip=3.0) == surrogate_and_gradient(ratio, advantage)


@given(st.floats(0.01, 50.0), st.floats(-5.0, 5.0), st.sampled_from([None, 3.0]))
def test_vetoed_means_a_nonzero_advantage_without_gradient(ratio, advantage, dual_clip):
    _, slope, vetoed = surrogate_and_gradient(ratio, advantage, dual_clip=dual_clip)
    assert vetoed == (slope == 0.0 and advantage != 0.0)


def test_aggregate_by_hand():
    """Rows of 1 and 3 tokens with terms 4 | 1 2 3: sequence (4 + 2) / 2 = 3, token (4 + 1 + 2 + 3) / 4 = 2.5."""
    terms = torch.tensor([[4.0, 9.0, 9.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    assert aggregate(terms, mask, "sequence", Normalizer.of(mask)).item() == 3.0
    assert aggregate(terms, mask, "token", Normalizer.of(mask)).item() == 2.5


@pytest.mark.parametrize("how", ["sequence", "token"])
def test_a_term_per_row_counts_like_a_row_whose_tokens_all_carry_it(how):
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    per_row = torch.tensor([4.0, 2.0])
    per_token = per_row.unsqueeze(1).expand(2, 3)
    normalizer = Normalizer.of(mask)
    assert aggregate(per_row, mask, how, normalizer) == aggregate(per_token, mask, how, normalizer)


def test_kl_estimators_by_hand():
    """pi = 1/2 and target = 1/4: R = -log 2; k1 = log 2, k2 = (log 2)^2 / 2, k3 = 1/2 + log 2 - 1."""
    logp, target = torch.tensor(0.5).double().log(), torch.tensor(0.25).double().log()
    assert kl(logp, target, "k1").item() == pytest.approx(math.log(2))
    assert kl(logp, target, "k2").item() == pytest.approx(math.log(2) ** 2 / 2)
    assert kl(logp, target, "k3").item() == pytest.approx(math.log(2) - 0.5)


def test_k3_is_the_default_estimator_and_is_accurate_near_zero():
    """For small R, exp(R) - R - 1 = R^2 / 2 + R^3 / 6 + ...; at 1e-8 the naive form has no digit left."""
    near = kl(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1e-8, dtype=torch.float64))
    assert near.item() == pytest.approx(5e-17, rel=1e-3, abs=0)


def test_an_unknown_estimator_is_named():
    with pytest.raises(ValueError, match=r"'k4'.*'k1', 'k2' or 'k3'"):
        kl(torch.zeros(1), torch.zeros(1), "k4")


def categorical(seed):
    """Logits of a policy over five symbols, the log-probabilities of a target, and the true KL with its gradient."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, generator=generator, dtype=torch.float64).requires_grad_()
    target = torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)
    logp = logits.log_softmax(0)
    true = (logp.exp() * (logp - target)).sum()
    return logits, target, true.detach(), torch.autograd.grad(true, logits)[0]


def expected(estimator, logits, target):
    """Expectation over the whole support, of the estimator and of its gradient."""
    logp = logits.log_softmax(0)
    weighted = (logp.detach().exp() * kl(logp, target, estimator)).sum()
    return weighted.detach(), torch.autograd.grad(weighted, logits)[0]


@given(st.integers(0, 999))
def test_k2_has_the_gradient_of_the_true_kl_in_expectation(seed):
    logits, target, _, gradient = categorical(seed)
    torch.testing.assert_close(expected("k2", logits, target)[1], gradient, atol=1e-12, rtol=1e-9)


@given(st.integers(0, 999))
def test_k1_and_k3_are_unbiased_but_their_gradients_are_not_the_kls(seed):
    """k1's expected gradient is that of a constant, 0; k3's is the reverse divergence's, pi - pi_T in the logits."""
    logits, target, true, gradient = categorical(seed)
    k1, k1_gradient = expected("k1", logits, target)
    k3, k3_gradient = expected("k3", logits, target)
    torch.testing.assert_close(k1, true)
    torch.testing.assert_close(k3, true)
    torch.testing.assert_close(k1_gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    torch.testing.assert_close(k3_gradient, logits.detach().softmax(0) - target.exp(), atol=1e-12, rtol=1e-9)
