"""The solver: three forms against two independent references, and what must and must not change an answer."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.edit.ridge import (
    Ridge,
    Solution,
    Sums,
    Weights,
    hard_constraint,
    low_rank_ridge,
    spans,
    weakest,
)

FORMS = ("primal", "reduced", "dual")
SHAPES = [(24, 10, 9, 7), (24, 10, 40, 30), (6, 12, 30, 0), (5, 3, 2, 1)]
"""Inputs, columns, harmful and harmless prompts: fewer prompts than inputs, more, more columns than inputs, tiny."""


def problem(shape, seed=0):
    d, m, n, k = shape
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((n, d), (k, d), (n, m))]


def objective(delta, low, safe, gap, weights):
    return float(
        (low @ delta - gap).square().sum()
        + weights.gamma * (safe @ delta).square().sum()
        + weights.ridge * delta.square().sum()
    )


def stacked(low, safe, gap, weights):
    """The same problem as plain least squares."""
    eye = torch.eye(low.shape[1], dtype=torch.float64)
    left = torch.cat([low, weights.gamma**0.5 * safe, weights.ridge**0.5 * eye])
    return left, torch.cat([gap, torch.zeros(len(left) - len(gap), gap.shape[1], dtype=torch.float64)])


def reference(low, safe, gap, weights, rank):
    """Reduced-rank regression by hand: least squares, then its fitted values on their first right singular vectors."""
    left, right = stacked(low, safe, gap, weights)
    full = torch.linalg.lstsq(left, right, driver="gelsd").solution
    v = torch.linalg.svd(left @ full, full_matrices=False)[2][:rank]
    return full @ v.T @ v


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 2, 3, None])
def test_every_form_is_reduced_rank_regression(form, shape, rank):
    low, safe, gap = problem(shape)
    solver = Ridge(low, safe, form=form)
    weights = solver.weights(0.7, 1e-3)
    solution = solver.solve([gap], weights)[0]
    wanted = reference(low, safe, gap, weights, rank or gap.shape[1])
    torch.testing.assert_close(solution.delta(rank), wanted, rtol=1e-8, atol=1e-9)
    assert torch.linalg.matrix_rank(solution.delta(rank)) <= (rank or gap.shape[1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "ridge"), list(itertools.product(SHAPES, [1e-6, 1e-2, 1.0])))
def test_the_spectrum_tells_the_loss_of_every_rank(form, shape, ridge):
    low, safe, gap = problem(shape)
    solver = Ridge(low, safe, form=form)
    weights = solver.weights(0.5, ridge)
    solution = solver.solve([gap], weights)[0]
    for rank in (1, 2, 3, None):
        measured = objective(solution.delta(rank), low, safe, gap, weights)
        assert solution.loss(rank) == pytest.approx(measured, rel=1e-8, abs=1e-8 * solution.gap)
    assert solution.gap == pytest.approx(float(gap.square().sum()))


@given(seed=st.integers(0, 10**6), rank=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_nothing_of_the_same_rank_is_better(seed, rank):
    low, safe, gap = problem((8, 5, 12, 6), seed)
    solver = Ridge(low, safe)
    weights = solver.weights(0.5, 1e-2)
    best = solver.solve([gap], weights)[0]
    draw = torch.Generator().manual_seed(seed)
    u, sigma, v = torch.linalg.svd(best.delta(rank), full_matrices=False)
    left, right = u[:, :rank] * sigma[:rank], v[:rank]
    for size in (1e-3, 1e-1, 1.0):
        a = left + size * torch.randn(left.shape, generator=draw, dtype=torch.float64)
        b = right + size * torch.randn(right.shape, generator=draw, dtype=torch.float64)
        assert objective(a @ b, low, safe, gap, weights) >= best.loss(rank) * (1 - 1e-10)


def test_alternating_least_squares_from_many_starts_ends_where_the_closed_form_is():
    low, safe, gap = problem((6, 4, 8, 5))
    solver = Ridge(low, safe)
    weights = solver.weights(0.5, 1e-2)
    best, draw = solver.solve([gap], weights)[0], torch.Generator().manual_seed(1)
    left, right = stacked(low, safe, gap, weights)
    found = []
    for _ in range(20):
        b = torch.randn(2, 4, generator=draw, dtype=torch.float64)
        for _ in range(300):
            a = torch.linalg.lstsq(left, right @ torch.linalg.pinv(b)).solution
            b = torch.linalg.lstsq(left @ a, right).solution
        found.append(objective(a @ b, low, safe, gap, weights))
    assert min(found) == pytest.approx(best.loss(2), rel=1e-9)
    assert min(found) >= best.loss(2) * (1 - 1e-9)


def test_a_problem_by_hand():
    """One input, one column: Delta = x d / (x^2 + gamma z^2 + lambda)."""
    low, safe, gap = (torch.tensor([[value]], dtype=torch.float64) for value in (2.0, 1.0, 3.0))
    solution = Ridge(low, safe).solve([gap], Weights(gamma=4.0, ridge=2.0))[0]
    assert float(solution.full) == pytest.approx(2 * 3 / (4 + 4 + 2))
    assert solution.loss(1) == pytest.approx((2 * 0.6 - 3) ** 2 + 4 * 0.6**2 + 2 * 0.6**2)


@given(seed=st.integers(0, 10**6), form=st.sampled_from(FORMS), scale=st.floats(0.01, 100.0))
@settings(max_examples=40, deadline=None)
def test_what_must_not_change_an_edit(seed, form, scale):
    low, safe, gap = problem((7, 4, 9, 5), seed)
    draw = torch.Generator().manual_seed(seed)

    def solve(low, safe, gap, **how):
        return low_rank_ridge(low, safe, gap, rank=2, gamma=0.5, ridge=1e-2, **how)

    plain = solve(low, safe, gap, form=form)
    close = {"rtol": 1e-6, "atol": 1e-7 * float(plain.abs().max())}
    order, other = torch.randperm(9, generator=draw), torch.randperm(5, generator=draw)
    torch.testing.assert_close(solve(low[order], safe[other], gap[order], form=form), plain, **close)
    twice = [torch.cat([each, each]) for each in (low, safe, gap)]
    torch.testing.assert_close(solve(*twice, form=form), plain, **close)
    torch.testing.assert_close(solve(low, torch.cat([safe, safe]), gap, form=form), plain, **close)
    torch.testing.assert_close(solve(scale * low, scale * safe, scale * gap, form=form), plain, **close)
    torch.testing.assert_close(
        solve(low, safe, scale * gap, form=form), scale * plain, rtol=1e-6, atol=scale * close["atol"]
    )
    turned = torch.linalg.qr(torch.randn(7, 7, generator=draw, dtype=torch.float64))[0]
    torch.testing.assert_close(solve(low @ turned, safe @ turned, gap, form=form), turned.T @ plain, **close)
    units = torch.randperm(4, generator=draw)
    torch.testing.assert_close(solve(low, safe, gap[:, units], form=form), plain[:, units], **close)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_more_gamma_leaks_less_and_closes_less_and_more_rank_gains_more(seed):
    low, safe, gap = problem((8, 5, 10, 6), seed)
    solver = Ridge(low, safe)
    solutions = [solver.solve([gap], Weights(gamma, 1e-2))[0] for gamma in (0.0, 0.1, 1.0, 10.0, 1e3)]
    leaks = [float((safe @ each.full).square().sum()) for each in solutions]
    losses = [each.loss(None) for each in solutions]
    assert all(a >= b * (1 - 1e-9) for a, b in itertools.pairwise(leaks))
    assert all(a <= b * (1 + 1e-9) for a, b in itertools.pairwise(losses))
    assert all(bool((each.energy[:-1] >= each.energy[1:] - 1e-9).all()) for each in solutions)


def test_a_large_gamma_ends_at_the_hard_constraint():
    low, safe, gap = problem((24, 10, 9, 7))
    limit = hard_constraint(low, safe, gap, ridge=0.1)
    assert float((safe @ limit).abs().max()) < 1e-12
    solver = Ridge(low, safe)
    far = [float((solver.solve([gap], Weights(10.0**k, 0.1))[0].full - limit).norm()) for k in (0, 2, 4, 6)]
    assert all(a > 10 * b for a, b in itertools.pairwise(far[1:]))
    assert far[0] > far[1]


def test_harmless_anchors_that_span_all_inputs_disable_the_edit():
    low, safe, gap = problem((6, 3, 8, 20))
    assert spans(safe)
    assert not spans(safe[:5])
    assert not spans(torch.cat([safe, safe])[:, [0, 1, 2, 3, 4, 4]])
    assert not hard_constraint(low, safe, gap, ridge=0.1).any()
    assert float(low_rank_ridge(low, safe, gap, gamma=1e9).norm()) < 1e-6


def test_the_weakest_directions_are_free_up_to_their_share_of_the_energy():
    safe = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64))
    for share, free in [(0.0, 1), (1 / 14 + 1e-9, 2), (5 / 14 + 1e-9, 3)]:
        found = weakest(safe.T @ safe, share)
        assert found.shape == (4, free)
        torch.testing.assert_close(found.T @ found, torch.eye(free, dtype=torch.float64))
    assert weakest(torch.zeros(4, 4, dtype=torch.float64)).shape == (4, 4)


def test_sums_over_prompts_give_what_the_prompts_give():
    low, safe, _ = problem((7, 4, 20, 15))
    english, columns = problem((7, 4, 20, 7), 1)[:2]
    w = columns[:, :4].reshape(7, 4)
    shift = english - low
    sums = Sums(low.T @ low, low.T @ shift, shift.T @ shift, safe.T @ safe, len(low), len(safe))
    solver = Ridge(low, safe)
    weights = solver.weights(0.3, 1e-2)
    assert sums.weights(0.3, 1e-2) == pytest.approx(weights)
    ours, wanted = sums.solve([w], weights)[0], solver.solve([shift @ w], weights)[0]
    torch.testing.assert_close(ours.delta(2), wanted.delta(2), rtol=1e-8, atol=1e-10)
    assert ours.loss(3) == pytest.approx(wanted.loss(3), rel=1e-8)


def test_several_gaps_share_a_factorisation_and_do_not_mix():
    low, safe, gap = problem((9, 6, 5, 4))
    solver = Ridge(low, safe)
    weights = solver.weights()
    both = solver.solve([gap[:, :2], gap], weights)
    torch.testing.assert_close(both[0].full, both[1].full[:, :2])


def test_the_rank_for_a_share_of_the_gain():
    energy = torch.tensor([6.0, 3.0, 1.0, 0.0], dtype=torch.float64)
    solution = Solution(torch.zeros(2, 4), torch.eye(4), energy, 20.0, Weights(1.0, 1.0))
    assert [solution.rank(share) for share in (0.5, 0.6, 0.61, 0.9, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\]"):
        solution.rank(0.0)


def test_no_gap_gives_no_change():
    low, safe, gap = problem((8, 5, 10, 6))
    assert not low_rank_ridge(low, safe, torch.zeros_like(gap)).any()


def test_without_harmless_prompts_gamma_means_nothing():
    low, safe, gap = problem((8, 5, 10, 6))
    torch.testing.assert_close(
        low_rank_ridge(low, safe[:0], gap, gamma=5.0), low_rank_ridge(low, safe[:0], gap, gamma=0.0)
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: {"low": a[0][:, :3]}, "low has 3 inputs and safe 8"),
        (lambda a: {"low": a[0][:0], "gap": a[2][:0]}, "There is no harmful prompt"),
        (lambda a: {"gap": a[2][:4]}, "gap has 4 rows and low 10; both must be of the same prompts"),
        (lambda a: {"gap": a[2][0]}, "gap has the shape"),
        (lambda a: {"low": a[0].index_fill(0, torch.tensor([2]), float("nan"))}, "Row 2 of low .* not finite"),
        (lambda a: {"safe": a[1].index_fill(0, torch.tensor([0]), float("inf"))}, "Row 0 of safe .* not finite"),
        (lambda a: {"gamma": -1.0}, "gamma=-1.0 must be a finite number"),
        (lambda a: {"ridge": float("nan")}, "ridge=nan must be a finite number"),
        (
            lambda a: {"ridge": 0.0, "gamma": 0.0, "low": a[0][:2], "gap": a[2][:2], "form": "primal"},
            "system is singular",
        ),
        (lambda a: {"rank": 0}, "rank=0 must be at least 1"),
        (lambda a: {"form": "svd"}, "form='svd' is unknown"),
    ],
)
def test_bad_input_is_one_sentence(change, sentence):
    low, safe, gap = arguments = problem((8, 5, 10, 6))
    given = {"low": low, "safe": safe, "gap": gap, **change(arguments)}
    with pytest.raises(ValueError, match=sentence):
        low_rank_ridge(**given)
