"""KDRL and OPD: the annealing schedule, which completions keep the term, and what they reject."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import KDRL, OPD, Table, grpo, kdrl, opd
from rl.cases import TEACHER, random_live, value_and_gradient

TOKEN_GRPO = grpo(aggregation="token")


def test_beta_is_constant_unless_annealed():
    assert {KDRL(TEACHER).weight(step) for step in (0, 1, 10_000)} == {2e-3}


@pytest.mark.parametrize(("step", "weight"), [(0, 5e-3), (1, 4.95e-3), (40, 3e-3), (80, 1e-3), (81, 1e-3), (280, 1e-3)])
def test_annealing_is_the_papers_schedule(step, weight):
    """max(5e-3 - 5e-5 s, 1e-3): 40 steps take 2e-3 off, and after 80 the floor is reached."""
    assert KDRL(TEACHER, beta=5e-3, anneal_to=1e-3).weight(step) == pytest.approx(weight)


@given(beta=st.floats(0.0, 1.0), floor=st.floats(0.0, 1.0), per_step=st.floats(1e-6, 0.1), step=st.integers(0, 5000))
def test_the_weight_falls_from_beta_to_its_floor(beta, floor, per_step, step):
    method = KDRL(TEACHER, beta=beta, anneal_to=floor * beta, anneal_per_step=per_step)
    assert method.weight(0) == beta
    assert floor * beta <= method.weight(step + 1) <= method.weight(step) <= beta


def test_the_step_of_the_micro_batch_sets_the_weight():
    live = random_live(0)
    method = KDRL(TEACHER, beta=0.2, anneal_to=0.0, anneal_per_step=0.01)
    early, late = method.penalty(replace(live, step=0)), method.penalty(replace(live, step=15))
    torch.testing.assert_close(late, early * 0.25)


@given(seed=st.integers(0, 999))
def test_k2_adds_beta_times_the_teachers_log_ratio_to_the_advantage(seed):
    """At pi = pi_old the gradient of a token is -(A + beta (log pi_T - log pi)) / tokens."""
    live = random_live(seed)
    live = replace(live, logp_old=live.logp.detach())
    _, gradient = value_and_gradient(kdrl(TEACHER, beta=0.2), live)
    token_advantage = live.advantages + 0.2 * (live.scores["teacher"] - live.logp.detach())
    torch.testing.assert_close(gradient, -token_advantage * live.mask / live.mask.sum(), atol=1e-12, rtol=1e-9)


@given(seed=st.integers(0, 999))
def test_beta_zero_is_grpo(seed):
    live = random_live(seed)
    for mine, theirs in zip(
        value_and_gradient(kdrl(TEACHER, beta=0.0), live), value_and_gradient(TOKEN_GRPO, live), strict=True
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("keep", "kept"), [("all", [1, 1, 1, 1]), ("incorrect", [0, 1, 1, 1]), ("unsolved", [0, 0, 1, 1])]
)
def test_keep_says_which_completions_hear_the_teacher(keep, kept):
    """Rows 0 and 1 are one group, solved by row 0; rows 2 and 3 are another, unsolved."""
    live = random_live(0, rows=4)
    rewards, group = torch.tensor([1.0, 0.0, 0.0, 0.0]).double(), torch.tensor([0, 0, 1, 1])
    recipe = kdrl(TEACHER, keep=keep)
    columns = recipe.credit(Table(rewards, group, rewards, list("aabb"), torch.ones(4))).columns
    penalty = recipe.penalty(replace(live, columns=columns))
    assert [int((row != 0).all()) for row in penalty] == kept
    assert [int((row == 0).all()) for row in penalty] == [1 - k for k in kept]


def test_mask_end_drops_the_term_at_the_end_token_only():
    live = random_live(0)
    free, masked = KDRL(TEACHER).penalty(live), KDRL(TEACHER, mask_end=True).penalty(live)
    assert torch.equal(masked[live.is_end], torch.zeros_like(masked[live.is_end]))
    assert torch.equal(masked[~live.is_end], free[~live.is_end])
    assert (free[live.is_end] != 0).all()


def test_mask_end_survives_a_teacher_that_rules_the_end_token_out():
    live = random_live(0)
    teacher = torch.where(live.is_end, -math.inf, live.scores["teacher"])
    _, gradient = value_and_gradient(kdrl(TEACHER, mask_end=True), replace(live, scores={"teacher": teacher}))
    assert gradient.isfinite().all()


@pytest.mark.parametrize("keep", ["incorrect", "unsolved"])
def test_keep_survives_a_teacher_that_rules_a_dropped_completion_out(keep):
    live = random_live(0)
    dropped = torch.tensor([1.0, 0, 0, 0, 0, 0]).double()
    teacher = torch.where(dropped.bool().unsqueeze(1), -math.inf, live.scores["teacher"])
    live = replace(live, scores={"teacher": teacher}, columns={"correct": dropped, "any_correct": dropped})
    value, gradient = value_and_gradient(kdrl(TEACHER, keep=keep), live)
    assert value.isfinite()
    assert gradient.isfinite().all()


@given(rewards=st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_opd_ignores_rewards(rewards):
    values = torch.tensor(rewards, dtype=torch.float64)
    credit = opd(TEACHER).credit(Table(values, torch.zeros(4).long(), values, list("aaaa"), torch.ones(4)))
    assert torch.equal(credit.advantages, torch.zeros_like(values))


@given(seed=st.integers(0, 999))
def test_opd_descends_the_teachers_log_ratio_alone(seed):
    """With A = 0 the gradient of a token is (log pi - log pi_T) / tokens, whatever pi_old is."""
    live = random_live(seed)
    live = replace(live, advantages=torch.zeros_like(live.advantages))
    _, gradient = value_and_gradient(opd(TEACHER), live)
    want = (live.logp.detach() - live.scores["teacher"]) * live.mask / live.mask.sum()
    torch.testing.assert_close(gradient, want, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("beta", -0.1, "not be negative"),
        ("anneal_to", 5.0, r"\[0, beta="),
        ("anneal_to", -0.1, r"\[0, beta="),
        ("anneal_per_step", 0.0, "above 0"),
        ("estimator", "k1", "'k2' or 'k3'"),
        ("keep", "correct", "'all', 'incorrect' or 'unsolved'"),
        ("aggregation", "mean", "'sequence' or 'token'"),
    ],
)
@pytest.mark.parametrize("builder", [kdrl, opd])
def test_an_invalid_value_is_named_with_what_to_do(builder, setting, value, advice):
    with pytest.raises(ValueError, match=rf"{setting}='?{value}.*{advice}"):
        builder(TEACHER, **{setting: value})


@pytest.mark.parametrize(("builder", "name"), [(kdrl, "kdrl"), (opd, "opd")])
def test_a_missing_teacher_is_asked_for_by_the_method_that_needs_it(builder, name):
    with pytest.raises(ValueError, match=f"{name} needs a teacher: give a path"):
        builder(None)


def test_opd_is_kdrl_at_weight_1():
    assert OPD(TEACHER).weight(0) == 1.0
