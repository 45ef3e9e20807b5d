"""The closed forms against the exact risk, against runs of the model, and what must and must not change them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.tune import theory
from posttrain.tune.theory import Data, Weights, isotropic, risk

FEW = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
SHOTS = st.integers(0, 30)


def uneven(d=4, noise=0.3, seed=0):
    """A covariance that is no multiple of the identity."""
    square = np.random.default_rng(seed).standard_normal((d, d))
    return Data(square @ square.T / d + 0.3 * np.eye(d), noise)


def vectors(many, d, seed):
    return np.random.default_rng(seed).standard_normal((many, d))


def anything(d, seed, scale=0.4):
    """Weights without any structure."""
    draw = np.random.default_rng(seed)
    return Weights(scale * draw.standard_normal((d + 2, d + 2)), scale * draw.standard_normal(d + 2))


def forms(theta, theta_0, data):
    """Weights beside their closed form as a function of n: every formula of the module, away from special values."""
    v = 0.2 * theta_0 + 0.1 * theta
    optimum = theory.value_optimum(theta_0, data, 0.6, 0.8)
    return {
        "pretrained": (theory.pretrained(0.7, data), lambda n: theory.pretrained_risk(n, theta, data, 0.7)),
        "first family": (
            theory.first_family(theta_0, 0.52, data, 1.2),
            lambda n: theory.first_family_risk(n, theta, theta_0, data, 0.52, 1.2),
        ),
        "first family, c < 0": (
            theory.first_family(theta_0, -0.8, data),
            lambda n: theory.first_family_risk(n, theta, theta_0, data, -0.8),
        ),
        "second family": (
            theory.second_family(theta_0, 0.7, data, 1.1),
            lambda n: theory.second_family_risk(n, theta, theta_0, data, 0.7, 1.1),
        ),
        "second family, shared": (
            theory.second_family(theta_0, 0.7, data, 1.1, 0.3),
            lambda n: theory.second_family_risk(n, theta, theta_0, data, 0.7, 1.1, 0.3),
        ),
        "values": (theory.values(v, 0.9, data, 0.8), lambda n: theory.value_risk(n, theta, v, 0.9, data, 0.8)),
        "value optimum": (optimum, lambda n: theory.value_risk(n, theta, optimum.v[1:-1], 0.6, data, 0.8)),
    }


@pytest.mark.parametrize("data", [isotropic(5, 0.1), uneven()], ids=["Sigma = I", "Sigma drawn"])
@pytest.mark.parametrize("n", [0, 1, 6, 20])
def test_closed_forms_are_what_the_model_does_to_one_per_cent(data, n):
    theta, theta_0 = vectors(2, data.d, 1)
    known = forms(theta, theta_0, data)
    free = anything(data.d, 3, 0.25)
    samples = 400_000 if n > 6 else 800_000
    runs = theory.monte_carlo([w for w, _ in known.values()] + [free], n, theta, data, samples=samples, seed=5)
    for run, (_, form) in zip(runs, known.values(), strict=False):
        assert run.error < 0.004 * run.mean
        assert run.mean == pytest.approx(form(n), rel=0.01)
    assert runs[-1].mean == pytest.approx(risk(free, n, theta, data), rel=0.02, abs=4 * runs[-1].error)


@FEW
@given(SEEDS, SHOTS)
def test_closed_forms_are_the_exact_risk(seed, n):
    data = uneven(3, 0.2, seed)
    theta, theta_0 = vectors(2, 3, seed)
    for weights, form in forms(theta, theta_0, data).values():
        assert form(n) == pytest.approx(risk(weights, n, theta, data), rel=1e-9)


def test_the_numbers_that_the_notebook_and_the_text_name():
    """d = 5, sigma^2 = 0.1, m = n = 20, |theta| = 1. a = 20/26; 5 a 1.1 / (2 - a) - 1 = 2.4375. .1 + 2/9 = .322."""
    data, theta = isotropic(), np.eye(5)[0]
    assert theory.released_a(20, 5) == pytest.approx(20 / 26)
    assert theory.shots_to_help(20 / 26, data) == pytest.approx(2.4375)
    assert theory.value_floor(theta, data) == pytest.approx(0.1 + 2 / 9)
    assert theory.best_w(20, theta, theta, data) == pytest.approx((21 - 33 / 9) / 26.5)
    assert round(theory.best_w(20, theta, theta, data), 3) == 0.654
    assert round(theory.best_w(20, -theta, theta, data), 3) == 0.931
    assert theory.first_family_limit(theta, data) == pytest.approx(1.1)
    assert risk(theory.first_family(theta, 0.52, data), 10**7, theta, data) == pytest.approx(1.1, abs=1e-5)
    assert theory.best_a(20, data) == pytest.approx(21 / 26.5)
    for a, said in ((theory.released_a(20, 5), 0.3459), (theory.best_a(20, data), 0.3453)):
        assert round(theory.pretrained_risk(20, theta, data, a), 4) == said
    curve = [round(theory.first_family_risk(n, theta, theta, data, 0.52), 2) for n in (0, 1, 20)]
    assert curve == [0.10, 2.58, 1.41]
    assert theory.flow_c(theta, (20 / 26) ** 2 * 5) == pytest.approx(0.553, abs=5e-4)


# -- optima ------------------------------------------------------------------------------------------------------------


def slope(function, at, step=1e-4):
    return (function(at + step) - function(at - step)) / (2 * step)


@FEW
@given(SEEDS, st.floats(-2, 2).filter(lambda c: abs(c) > 0.2), st.floats(0, 1))
def test_both_families_reach_the_noise_without_examples(seed, c, k):
    data = uneven(3, 0.2, seed)
    theta_0 = vectors(1, 3, seed)[0]
    assert risk(theory.first_family(theta_0, c, data), 0, theta_0, data) == pytest.approx(0.2)
    assert risk(theory.second_family(theta_0, c, data, 1.0, k), 0, theta_0, data) == pytest.approx(0.2)


@FEW
@given(SEEDS, SEEDS)
def test_no_other_values_and_no_other_scores_do_better_without_examples(seed, other):
    """With v_0 = Q_0x = Q_00 = 0 the best symmetric Q_11 is Sigma^-1, up to its scale."""
    data = uneven(3, 0.2, seed)
    theta_0, v = vectors(2, 3, seed)
    floor = theory.value_floor(theta_0, data)
    assert risk(theory.value_optimum(theta_0, data, a=0.7), 0, theta_0, data) == pytest.approx(floor)
    assert risk(theory.values(v, 1.0, data, 0.7), 0, theta_0, data) >= floor
    q = np.zeros((5, 5))
    q[1:-1, 1:-1] = vectors(3, 3, other)
    unit = [Weights(q, np.array([0, *row, 0])) for row in np.eye(3)]  # the risk is a parabola in v
    zero = Weights(q, np.zeros(5))
    base = risk(zero, 0, theta_0, data)
    both = np.array([[risk(Weights(q, a.v + b.v), 0, theta_0, data) for b in unit] for a in unit])
    one = np.array([risk(each, 0, theta_0, data) for each in unit])
    hessian = both - one[:, None] - one[None, :] + base
    gradient = one - base - np.diag(hessian) / 2
    least = base - gradient @ np.linalg.lstsq(hessian, gradient, rcond=None)[0] / 2
    assert least >= floor - 1e-6


@FEW
@given(SEEDS, SHOTS.filter(bool), st.floats(0.3, 1.5))
def test_best_w_is_where_the_risk_is_least(seed, n, a):
    data = uneven(3, 0.2, seed)
    theta, theta_0 = vectors(2, 3, seed)
    v = theta_0 / (a * 7)
    best = theory.best_w(n, theta, theta_0, data, a)
    assert slope(lambda w: theory.value_risk(n, theta, v, w, data, a), best) == pytest.approx(0, abs=1e-5)
    assert slope(lambda w: slope(lambda u: theory.value_risk(n, theta, v, u, data, a), w), best) > 0


@FEW
@given(SEEDS, SHOTS.filter(bool))
def test_best_a_is_where_the_risk_is_least(seed, m):
    data = uneven(3, 0.2, seed)
    theta = vectors(1, 3, seed)[0]
    best = theory.best_a(m, data, data.dot(theta, theta))
    assert slope(lambda a: theory.pretrained_risk(m, theta, data, a), best) == pytest.approx(0, abs=1e-6)


def test_a_little_of_the_few_shot_loss_selects_w_and_leaves_v():
    """The least of L_ZS + lambda L_FS over v and w, a parabola in both, as lambda goes to 0."""
    data, theta_0 = isotropic(4), np.eye(4)[0]

    def least(weight):
        def loss(x):
            model = theory.values(x[0] * theta_0, x[1], data)
            return risk(model, 0, theta_0, data) + weight * risk(model, 12, theta_0, data)

        base, one, two = loss([0, 0]), [loss(e) for e in np.eye(2)], [loss(2 * e) for e in np.eye(2)]
        diagonal = [two[i] - 2 * one[i] + base for i in range(2)]
        cross = loss([1, 1]) - one[0] - one[1] + base
        gradient = [one[i] - base - diagonal[i] / 2 for i in range(2)]
        return -np.linalg.solve([[diagonal[0], cross], [cross, diagonal[1]]], gradient)

    wanted = [1 / 8, theory.best_w(12, theta_0, theta_0, data)]
    assert np.abs(least(1e-6) - wanted).max() < 1e-5
    assert np.abs(least(1.0) - wanted).max() > 1e-3


def test_descent_from_the_pretrained_model_ends_in_the_first_family_at_the_c_of_the_flow():
    """Plain gradient descent with small steps on the exact zero-shot risk, gradients by differences."""
    data, theta_0 = isotropic(2, 0.1), np.array([0.6, 0.8])
    start = theory.pretrained(0.7, data)
    flat = np.concatenate([start.q[:-1, :-1].ravel(), start.v[:-1]])

    def built(x):
        q, v = np.zeros((4, 4)), np.array([*x[9:], 1.0])
        q[:-1, :-1] = x[:9].reshape(3, 3)
        return Weights(q, v)

    def loss(x):
        return risk(built(x), 0, theta_0, data)

    for _ in range(1000):
        flat = flat - 0.03 * np.array([slope(lambda t, at=flat, e=e: loss(at + t * e), 0.0) for e in np.eye(12)])
    end = built(flat)
    c = theory.flow_c(theta_0, theory.balance(start))
    assert loss(flat) == pytest.approx(0.1, abs=1e-4)
    assert end.v == pytest.approx(np.array([0, *(c * theta_0), 1]), abs=0.01)
    assert end.q[0, 0] == pytest.approx(1 / c, rel=0.01)
    assert theory.balance(end) == pytest.approx(theory.balance(start), abs=0.03)


# -- limits and thresholds --------------------------------------------------------------------------------------------


@FEW
@given(SEEDS)
def test_limits(seed):
    data = uneven(3, 0.2, seed)
    theta, theta_0 = vectors(2, 3, seed)
    many, near = 10**8, pytest.approx
    assert theory.pretrained_risk(many, theta, data, 1.0) == near(0.2, abs=1e-5)
    assert theory.pretrained_risk(0, theta, data, 0.7) == near(0.2 + data.dot(theta, theta))
    assert theory.first_family_risk(many, theta, theta_0, data, 0.5) == near(
        theory.first_family_limit(theta, data), rel=1e-4
    )
    v = 0.3 * theta_0
    assert theory.value_risk(many, theta, v, 0.9, data, 0.8) == near(
        theory.value_limit(theta, v, 0.9, data, 0.8), rel=1e-4
    )
    assert theory.best_w(many, theta, theta_0, data) == near(theory.best_w(math.inf, theta, theta_0, data), abs=1e-5)
    assert theory.best_w(math.inf, theta_0, theta_0, data) == near(6 / 7)  # (d+3)/(d+4), on theta_0 alone
    assert theory.best_w(math.inf, -theta_0, theta_0, data) == near(8 / 7)
    assert theory.best_a(many, data) == near(1.0, abs=1e-6)


@FEW
@given(st.floats(0.05, 1.9), st.integers(1, 9), st.floats(0, 2), st.floats(0.1, 4))
def test_examples_help_the_pretrained_model_beyond_the_threshold_alone(a, d, noise, norm):
    data, theta = isotropic(d, noise), np.eye(d)[0] * norm**0.5
    bar = theory.shots_to_help(a, data, norm)
    alone = theory.pretrained_risk(0, theta, data, a)
    below, above = max(1, math.ceil(bar - 1e-6) - 1), max(1, math.floor(bar + 1e-6) + 1)
    assert theory.pretrained_risk(above, theta, data, a) < alone
    assert below >= bar or theory.pretrained_risk(below, theta, data, a) > alone


@FEW
@given(SEEDS, SHOTS)
def test_any_example_makes_the_first_family_worse_on_its_own_task(seed, n):
    data = uneven(3, 0.2, seed)
    theta_0 = vectors(1, 3, seed)[0]
    at = [theory.first_family_risk(k, theta_0, theta_0, data, 0.52) for k in (0, n + 1)]
    assert at[0] == pytest.approx(0.2)
    assert at[1] > at[0]


@FEW
@given(SEEDS, SHOTS, SEEDS)
def test_the_second_family_keeps_its_task_and_ignores_the_context(seed, n, other):
    data = uneven(3, 0.2, seed)
    theta, theta_0 = vectors(2, 3, seed)
    weights = theory.second_family(theta_0, 0.8, data, w=0.0)  # without w nothing is left of the context
    assert risk(weights, n, theta_0, data) == pytest.approx(0.2)
    gap = theta - theta_0
    assert risk(weights, n, theta, data) == pytest.approx(0.2 + data.dot(gap, gap))
    query = np.array([[1.0, *vectors(1, 3, other)[0], 0.0]])
    context = np.random.default_rng(other).standard_normal((1, n, 5))
    context[..., 0] = 1
    assert theory.predict(weights, context, query)[0] == pytest.approx(theta_0 @ query[0, 1:-1])


# -- what must not change a risk ---------------------------------------------------------------------------------------


@FEW
@given(SEEDS, SHOTS)
def test_the_flipped_twin_predicts_the_same(seed, n):
    data = uneven(3, 0.2, seed)
    theta, x = vectors(2, 3, seed)
    weights = anything(3, seed)
    context, query = np.random.default_rng(seed).standard_normal((6, n, 5)), np.tile([1, *x, 0.0], (6, 1))
    twin = theory.flipped(weights)
    np.testing.assert_array_equal(theory.predict(twin, context, query), theory.predict(weights, context, query))
    assert risk(twin, n, theta, data) == risk(weights, n, theta, data)


@FEW
@given(SEEDS, SHOTS)
def test_a_rotation_of_x_and_theta_changes_nothing_where_sigma_is_the_identity(seed, n):
    data = isotropic(4, 0.2)
    theta, theta_0 = vectors(2, 4, seed)
    turn = np.linalg.qr(vectors(4, 4, seed + 1))[0]
    straight, turned = forms(theta, theta_0, data), forms(turn @ theta, turn @ theta_0, data)
    for name, (_, form) in straight.items():
        assert turned[name][1](n) == pytest.approx(form(n))


@FEW
@given(SEEDS, SHOTS, st.floats(0.1, 10))
def test_a_longer_x_and_a_shorter_theta_change_nothing(seed, n, s):
    data = uneven(3, 0.2, seed)
    scaled = Data(s**2 * data.covariance, data.noise)
    theta, theta_0 = vectors(2, 3, seed)
    plain, changed = forms(theta, theta_0, data), forms(theta / s, theta_0 / s, scaled)
    for name, (weights, form) in plain.items():
        assert changed[name][1](n) == pytest.approx(form(n))
        assert risk(changed[name][0], n, theta / s, scaled) == pytest.approx(risk(weights, n, theta, data))


@FEW
@given(SEEDS, SHOTS, st.floats(0.2, 5))
def test_scores_up_and_values_down_change_nothing(seed, n, s):
    data = uneven(3, 0.2, seed)
    weights, theta = anything(3, seed), vectors(1, 3, seed)[0]
    assert risk(Weights(s * weights.q, weights.v / s), n, theta, data) == pytest.approx(risk(weights, n, theta, data))


@FEW
@given(SEEDS)
def test_a_zero_shot_loss_does_not_see_what_it_leaves_open(seed):
    """w, the column of y in Q, how Q_0x + Q_x0 is shared out, and the antisymmetric part of Q_11."""
    data, draw = uneven(3, 0.2, seed), np.random.default_rng(seed)
    theta, weights = vectors(1, 3, seed)[0], anything(3, seed)
    q, v, square = weights.q.copy(), weights.v.copy(), draw.standard_normal((3, 3))
    v[-1], q[:, -1], q[-1] = draw.standard_normal(), draw.standard_normal(5), draw.standard_normal(5)
    q[1:-1, 1:-1] += square - square.T
    shift = draw.standard_normal(3)
    q[0, 1:-1], q[1:-1, 0] = q[0, 1:-1] + shift, q[1:-1, 0] - shift
    changed = Weights(q, v)
    assert risk(changed, 0, theta, data) == pytest.approx(risk(weights, 0, theta, data))
    assert risk(changed, 3, theta, data) != pytest.approx(risk(weights, 3, theta, data), rel=1e-3)


@FEW
@given(SEEDS, st.floats(0, 2), st.floats(0.01, 2), st.integers(1, 20))
def test_noise_makes_everything_worse(seed, noise, more, n):
    clean, noisy = uneven(3, noise, seed), uneven(3, noise + more, seed)
    theta, theta_0 = vectors(2, 3, seed)
    for (_, low), (_, high) in zip(
        forms(theta, theta_0, clean).values(), forms(theta, theta_0, noisy).values(), strict=True
    ):
        assert low(n) + more <= high(n) + 1e-9


# -- the model, schedules, bad input -----------------------------------------------------------------------------------


def test_a_prediction_by_hand():
    """d = 1, Q_11 = 2, (v_0, v, w) = (1, 0, 3); context (x, y) = (1, 2), query x = 1.

    Scores: 2 of the example, 2 of the query; values: 1 + 3 * 2 = 7 and 1. yhat = (2 * 7 + 2 * 1) / 2 = 8.
    """
    q = np.zeros((3, 3))
    q[1, 1] = 2
    answer = theory.predict(Weights(q, np.array([1.0, 0, 3])), np.array([[[1.0, 1, 2]]]), np.array([[1.0, 1, 0]]))
    assert answer == pytest.approx([8])


def test_a_seed_is_an_estimate_and_chunks_do_not_show():
    data, theta = isotropic(2), np.ones(2)
    weights = [theory.pretrained(0.7, data)]
    one, again, other = (theory.monte_carlo(weights, 2, theta, data, samples=50_001, seed=s)[0] for s in (1, 1, 2))
    assert one == again != other
    assert abs(one.mean - other.mean) < 6 * one.error


def test_the_weight_of_the_few_shot_loss_falls_from_one_to_nothing():
    assert [theory.few_shot_weight(t, 5) for t in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert theory.few_shot_weight(0, 1) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Data(np.ones((2, 3))), "symmetric"),
        (lambda: Data(np.array([[1.0, 0.5], [0.0, 1.0]])), "symmetric"),
        (lambda: Data(np.diag([1.0, 0.0])), "positive definite"),
        (lambda: isotropic(2, -0.1), "noise=-0.1"),
        (lambda: theory.first_family(np.ones(2), 0.0, isotropic(2)), "c is 0"),
        (lambda: theory.value_optimum(np.ones(2), isotropic(2), a=0.0), "a is 0"),
        (lambda: risk(anything(2, 0), -1, np.ones(2), isotropic(2)), "n=-1"),
        (lambda: theory.shots_to_help(2.0, isotropic(2)), "a=2.0"),
        (lambda: theory.few_shot_weight(5, 5), "step=5"),
    ],
)
def test_bad_input_is_one_sentence(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
