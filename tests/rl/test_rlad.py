"""RLAD: the paper's limits, its veto, its clamp, and what it rejects. All in float64."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import Live, grpo, policy_loss, rlad
from rl.cases import TEACHER, random_live, value_and_gradient

GRPO = grpo(clip_high=0.28)  # with RLAD's clip


def single(now, old, teacher, advantage, **fields):
    """A micro-batch of one row; each argument is a list over its tokens, or one number."""
    columns = [torch.as_tensor(x, dtype=torch.float64).reshape(1, -1) for x in (now, old, teacher, advantage)]
    now, old, teacher, advantage = torch.broadcast_tensors(*columns)
    now = now.clone().requires_grad_()
    return Live(now, old, torch.ones_like(old), advantage, scores={"teacher": teacher}, **fields)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@pytest.mark.parametrize("gradient", ["through", "literal"])
@pytest.mark.parametrize("teacher", [None, -60.0, -math.inf, 0.0])
@given(seed=st.integers(0, 999))
def test_alpha_1_is_grpo_for_any_teacher(gradient, teacher, seed):
    live = random_live(seed)
    if teacher is not None:
        live = replace(live, scores={"teacher": torch.full_like(live.logp_old, teacher)})
    assert_same(
        value_and_gradient(rlad(TEACHER, alpha=1.0, clamp_gradient=gradient), live), value_and_gradient(GRPO, live)
    )


@pytest.mark.parametrize("options", [{}, {"clamp_gradient": "literal"}, {"mixture": "arithmetic"}], ids=str)
@given(seed=st.integers(0, 999), alpha=st.floats(0.01, 0.99), gap=st.floats(0.1, 0.999))
def test_a_teacher_equal_to_the_sampling_policy_is_grpo(options, seed, alpha, gap):
    """For every alpha, as long as |log pi - log pi_old| stays within the clamp."""
    live = random_live(seed)
    old = live.logp.detach() + gap * torch.tanh(live.logp_old - live.logp.detach())
    live = replace(live, logp_old=old, scores={"teacher": old})
    assert_same(value_and_gradient(rlad(TEACHER, alpha=alpha, **options), live), value_and_gradient(GRPO, live))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_teacher_equal_to_the_sampling_policy_is_grpo_at_both_ends(alpha):
    live = random_live(4)
    old = live.logp.detach() + 0.9 * torch.tanh(live.logp_old - live.logp.detach())
    live = replace(live, logp_old=old, scores={"teacher": old})
    assert_same(value_and_gradient(rlad(TEACHER, alpha=alpha), live), value_and_gradient(GRPO, live))


def test_beyond_the_clamp_a_teacher_equal_to_the_sampling_policy_is_not_grpo():
    """log pi - log pi_old = 2 and A = -1: GRPO's loss is e^2, RLAD's exp(0.5 x 2 + 0.5 x 1) = e^1.5."""
    live = single(-1.0, -3.0, -3.0, -1.0)
    assert value_and_gradient(GRPO, live)[0].item() == pytest.approx(math.exp(2))
    assert value_and_gradient(rlad(TEACHER), live)[0].item() == pytest.approx(math.exp(1.5))


@pytest.mark.parametrize("options", [{}, {"clamp_gradient": "literal"}, {"mixture": "arithmetic"}], ids=str)
@given(seed=st.integers(0, 999), alpha=st.floats(0.01, 0.99))
def test_advantage_zero_gives_exactly_zero_gradient(options, seed, alpha):
    live = random_live(seed)
    live = replace(live, advantages=torch.zeros_like(live.advantages))
    value, gradient = value_and_gradient(rlad(TEACHER, alpha=alpha, **options), live)
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(
    ("advantage", "boundary"),
    [(1.0, 1.6384), (-1.0, 0.64)],
    ids=["positive: (1 + 0.28)^2", "negative: (1 - 0.2)^2"],
)
@pytest.mark.parametrize("offset", [-1e-9, 1e-9, -0.1, 0.1])
def test_first_step_veto_on_both_sides_of_its_boundary(advantage, boundary, offset):
    """At pi = pi_old and alpha = 0.5 the ratio is sqrt(pi_old / pi_T).

    It exceeds 1.28 iff pi_old > 1.6384 pi_T, and is below 0.8 iff pi_old < 0.64 pi_T; both lie inside the clamp,
    which bounds pi_old / pi_T by e and 1/e.
    """
    rho = boundary * (1 + offset)
    old = -2.0
    loss = policy_loss(rlad(TEACHER), live := single(old, old, old - math.log(rho), advantage))
    (gradient,) = torch.autograd.grad(loss.value, live.logp)
    vetoed = (offset > 0) if advantage > 0 else (offset < 0)
    if vetoed:
        assert gradient.item() == 0.0
    else:
        assert gradient.item() == pytest.approx(-advantage * math.sqrt(rho))
    mine, other = ("veto/positive", "veto/negative") if advantage > 0 else ("veto/negative", "veto/positive")
    assert (loss.metrics[mine].total.item(), loss.metrics[mine].count.item()) == (int(vetoed), 1)
    assert loss.metrics[other].count.item() == 0


@given(rho=st.floats(1e-6, 1e6), advantage=st.floats(0.1, 3.0), negative=st.booleans())
def test_first_step_veto_for_any_teacher(rho, advantage, negative):
    """The same for any disagreement: beyond the clamp the ratio stays at e^0.5 = 1.65 or e^-0.5 = 0.61."""
    advantage = -advantage if negative else advantage
    _, gradient = value_and_gradient(rlad(TEACHER), single(-15.0, -15.0, -15.0 - math.log(rho), advantage))
    vetoed = rho < 0.64 if negative else rho > 1.6384
    ratio = math.sqrt(min(max(rho, math.exp(-1)), math.e))
    assert gradient.item() == pytest.approx(0.0 if vetoed else -advantage * ratio, abs=1e-12)


def test_veto_metrics_are_the_shares_among_tokens_of_that_sign():
    """pi = pi_old. A > 0 at teacher gaps 0, 0.4, 0.6 (vetoed above log 1.6384 = 0.494), and 0.6 again under a zero
    mask: 1 of 3. A < 0 at gaps 0, -0.4, -0.5 (vetoed below log 0.64 = -0.446), +0.6: 1 of 4. A = 0 counts nowhere.
    """
    gap = torch.tensor([0.0, 0.4, 0.6, 0.6, 0.0, -0.4, -0.5, 0.6, 0.9], dtype=torch.float64)
    advantage = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 0.0], dtype=torch.float64)
    live = single(-2.0, -2.0, -2.0 - gap, advantage)
    live = replace(live, mask=torch.tensor([[1, 1, 1, 0, 1, 1, 1, 1, 1]]).double())
    metrics = policy_loss(rlad(TEACHER), live).metrics
    found = {key: (metrics[key].total.item(), metrics[key].count.item()) for key in ("veto/positive", "veto/negative")}
    assert found == {"veto/positive": (1, 3), "veto/negative": (1, 4)}


def test_grpo_vetoes_nothing_on_the_first_step():
    live = random_live(0)
    metrics = policy_loss(GRPO, replace(live, logp_old=live.logp.detach())).metrics
    assert metrics["veto/positive"].count > 0
    assert metrics["veto/positive"].total == metrics["veto/negative"].total == 0


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.9])
@pytest.mark.parametrize(("gap", "advantage"), [(2.0, -1.5), (-2.0, 1.5)])
def test_outside_the_clamp_the_gradient_passes_whole_or_scaled_by_alpha(alpha, gap, advantage):
    """log pi - log pi_T = +-2 is clamped to +-1 and pi = pi_old, so r = exp(+-(1 - alpha)) for both forms.

    These signs are not clipped, so `through` has the weight r A and `literal` exactly alpha r A.
    """
    ratio = math.exp((1 - alpha) * math.copysign(1.0, gap))
    live = single(-3.0, -3.0, -3.0 - gap, advantage)
    through = value_and_gradient(rlad(TEACHER, alpha=alpha), live)
    literal = value_and_gradient(rlad(TEACHER, alpha=alpha, clamp_gradient="literal"), live)
    assert through[0].item() == literal[0].item() == pytest.approx(-ratio * advantage)
    assert through[1].item() == pytest.approx(-ratio * advantage)
    assert literal[1].item() == pytest.approx(-alpha * ratio * advantage)


@given(gap=st.floats(-3.0, 3.0), shift=st.floats(-1.0, 1.0), alpha=st.floats(0.05, 0.95), negative=st.booleans())
def test_literal_is_the_derivative_of_the_printed_objective(gap, shift, alpha, negative):
    """Central differences of the loss value, which both forms share, give the literal gradient."""
    recipe, advantage, step = rlad(TEACHER, alpha=alpha, clamp_gradient="literal"), -1.0 if negative else 1.0, 1e-6

    def loss(now):
        return value_and_gradient(recipe, single(now, -3.0 - shift, -3.0 - gap, advantage))

    slopes = [(loss(-3.0 + a)[0] - loss(-3.0 + b)[0]).item() / step for a, b in [(step, 0.0), (0.0, -step)]]
    if abs(slopes[0] - slopes[1]) < 1e-4:  # else a kink of the clamp or the clip lies here
        assert loss(-3.0)[1].item() == pytest.approx(sum(slopes) / 2, abs=1e-4)


@given(gap=st.floats(-0.999, 0.999), shift=st.floats(-1.0, 1.0), alpha=st.floats(0.0, 1.0), negative=st.booleans())
def test_inside_the_clamp_both_gradients_agree(gap, shift, alpha, negative):
    live = single(-3.0, -3.0 - shift, -3.0 - gap, -1.0 if negative else 1.0)
    assert_same(
        value_and_gradient(rlad(TEACHER, alpha=alpha), live),
        value_and_gradient(rlad(TEACHER, alpha=alpha, clamp_gradient="literal"), live),
    )


@given(seed=st.integers(0, 999), alpha=st.floats(0.05, 0.95))
def test_both_clamp_gradients_have_the_same_value(seed, alpha):
    live = random_live(seed)
    values = [value_and_gradient(rlad(TEACHER, alpha=alpha, clamp_gradient=g), live)[0] for g in ("through", "literal")]
    torch.testing.assert_close(*values, atol=1e-12, rtol=0)


def test_the_anchor_is_the_geometric_mixture_and_not_the_arithmetic_one():
    """pi_old = 0.8 and pi_T = 0.4: sqrt(0.32) = 0.5657 against (0.8 + 0.4) / 2 = 0.6; at alpha = 1/4
    0.8^0.25 x 0.4^0.75 = 0.4757 against 0.2 + 0.3 = 0.5.
    """
    live = single(math.log(0.6), math.log(0.8), math.log(0.4), 1.0)

    def anchor(alpha, mixture):
        return rlad(TEACHER, alpha=alpha, mixture=mixture).anchor(live).exp().item()

    assert anchor(0.5, "geometric") == pytest.approx(math.sqrt(0.32))
    assert anchor(0.5, "arithmetic") == pytest.approx(0.6)
    assert anchor(0.25, "geometric") == pytest.approx(0.8**0.25 * 0.4**0.75)
    assert anchor(0.25, "arithmetic") == pytest.approx(0.5)


@given(seed=st.integers(0, 999), alpha=st.floats(0.01, 0.99))
def test_the_geometric_mixture_is_never_above_the_arithmetic_one(seed, alpha):
    live = random_live(seed)
    low, high = (rlad(TEACHER, alpha=alpha, mixture=m).anchor(live) for m in ("geometric", "arithmetic"))
    assert (low <= high + 1e-12).all()
    assert (low < high - 1e-6).any()


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0])
def test_the_arithmetic_mixture_rejects_alpha_0_and_1(alpha):
    with pytest.raises(ValueError, match=rf"not defined at alpha={alpha};.*inside \(0, 1\)"):
        rlad(TEACHER, alpha=alpha, mixture="arithmetic")


def test_mask_end_leaves_the_end_token_to_the_sampling_policy():
    live = random_live(1)
    free, masked = rlad(TEACHER).anchor(live), rlad(TEACHER, mask_end=True).anchor(live)
    assert torch.equal(masked[live.is_end], live.logp_old[live.is_end])
    assert torch.equal(masked[~live.is_end], free[~live.is_end])
    assert (free != masked).any()


def test_the_anchor_takes_no_gradient_to_the_teacher_or_the_sampling_policy():
    live = random_live(0)
    assert not rlad(TEACHER).anchor(live).requires_grad
    assert rlad(TEACHER, clamp_gradient="literal").anchor(live).requires_grad


def test_diagnose_measures_the_distance_to_the_teacher():
    """Gaps 0.5, -0.5, 3 and -1.5: mean 0.375, two of four outside the clamp."""
    metrics = policy_loss(rlad(TEACHER), single(-2.0, -2.0, [-2.5, -1.5, -5.0, -0.5], 1.0)).metrics
    assert metrics["teacher/kl"].total.item() / metrics["teacher/kl"].count.item() == pytest.approx(0.375)
    assert (metrics["teacher/clamped"].total.item(), metrics["teacher/clamped"].count.item()) == (2, 4)


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("alpha", -0.1, r"\[0, 1\]"),
        ("alpha", 1.5, r"\[0, 1\]"),
        ("alpha", math.nan, r"\[0, 1\]"),
        ("clamp", 0.0, "above 0"),
        ("clamp", -1.0, "above 0"),
        ("clamp_gradient", "straight", "'through' or 'literal'"),
        ("mixture", "harmonic", "'geometric' or 'arithmetic'"),
        ("clip_low", 1.5, r"\(0, 1\]"),
        ("clip_high", -0.28, "above 0"),
    ],
)
def test_an_invalid_value_is_named_with_what_to_do(setting, value, advice):
    with pytest.raises(ValueError, match=rf"{setting}='?{value}.*{advice}"):
        rlad(TEACHER, **{setting: value})


def test_rlad_without_a_teacher_says_what_to_give():
    with pytest.raises(ValueError, match="needs a teacher: give a path, a hub id or a module"):
        rlad(None)
