"""Intervals, paired differences and areas, against arithmetic that can be redone."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.stats import Interval, auc, bootstrap, consensus, paired, pass_at_k, plurality, wilson


def test_a_mean_with_its_interval():
    found = bootstrap([0.1, 0.2, 0.3, 0.4])
    assert found.mean == pytest.approx(0.25)
    assert found.n == 4
    assert 0.1 <= found.low < found.mean < found.high <= 0.4


def test_the_interval_is_that_of_the_resampled_mean():
    """Of two values 0 and 1, the resampled mean is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4."""
    assert bootstrap([0.0, 1.0])[:3] == (0.5, 0.0, 1.0)
    assert bootstrap([0.0, 1.0], level=0.4)[:3] == (0.5, 0.5, 0.5)


def test_one_value_is_its_own_interval():
    assert bootstrap([0.7]) == Interval(0.7, 0.7, 0.7, 1)


def test_equal_values_have_no_width():
    assert bootstrap([0.3] * 5)[1:3] == pytest.approx((0.3, 0.3))


def test_nothing_to_average_is_said():
    with pytest.raises(ValueError, match="give at least one value"):
        bootstrap([])


def test_the_same_values_give_the_same_interval():
    values = [0.1, 0.9, 0.4]
    assert bootstrap(values) == bootstrap(values)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    """300 draws of 20 normal values: percentile intervals of so few are a little short of 95 %."""
    rng = np.random.default_rng(0)
    found = [bootstrap(rng.normal(2.0, 1.0, 20), draws=1000, seed=i) for i in range(300)]
    covered = np.mean([interval.low <= 2.0 <= interval.high for interval in found])
    assert 0.89 <= covered <= 0.97


def test_an_interval_shrinks_with_the_root_of_n():
    rng = np.random.default_rng(1)
    width = {n: (i := bootstrap(rng.normal(0, 1, n))).high - i.low for n in (50, 5000)}
    assert width[50] / width[5000] == pytest.approx(10, rel=0.3)


def test_a_printed_interval_says_its_n():
    assert str(Interval(0.5, 0.25, 0.75, 4)) == "0.500 [0.250, 0.750] (n=4)"


def test_pairing_takes_out_what_the_seeds_share():
    """Seeds differ by 1, arms by 0.1: unpaired intervals overlap, the paired one is exact."""
    second = [0.0, 1.0, 2.0, 3.0]
    first = [x + 0.1 for x in second]
    found = paired(first, second)
    assert found.difference == pytest.approx(Interval(0.1, 0.1, 0.1, 4))
    assert found.wins == 4
    assert bootstrap(first).low < bootstrap(second).high


def test_pairing_is_antisymmetric_and_counts_ties_for_nobody():
    ahead, behind = paired([1.0, 2.0, 3.0], [1.0, 1.0, 4.0]), paired([1.0, 1.0, 4.0], [1.0, 2.0, 3.0])
    assert ahead.difference.mean == -behind.difference.mean == 0
    assert (ahead.wins, behind.wins) == (1, 1)


def test_arms_with_different_seeds_are_not_paired():
    with pytest.raises(ValueError, match="same seeds; got 2 and 1"):
        paired([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("steps", "values", "area"),
    [
        ([0, 10], [0.0, 1.0], 0.5),
        ([0, 10, 20], [0.0, 1.0, 1.0], 0.75),
        ([0, 10, 40], [1.0, 1.0, 0.0], 0.625),
        ([5, 15, 25], [0.3, 0.3, 0.3], 0.3),
    ],
)
def test_an_area_is_the_mean_height(steps, values, area):
    assert auc(steps, values) == pytest.approx(area)


def test_one_point_has_no_area():
    with pytest.raises(ValueError, match="at least two points; got 1"):
        auc([0], [0.5])


ATTEMPTS = st.lists(st.lists(st.sampled_from([0, 1]), min_size=4, max_size=6), min_size=1, max_size=4)


def test_pass_at_k_of_one_question():
    """Five attempts, two right: 2/5; of the 10 pairs 3 hold no right one, of the 10 triples 1."""
    found = [pass_at_k([[1, 0, 0, 1, 0]], k) for k in (1, 2, 3, 4, 5)]
    assert found == pytest.approx([0.4, 0.7, 0.9, 1.0, 1.0])


@given(correct=ATTEMPTS, k=st.integers(1, 4))
def test_pass_at_k_is_the_share_of_k_subsets_with_a_right_one(correct, k):
    shares = [np.mean([any(chosen) for chosen in combinations(attempts, k)]) for attempts in correct]
    assert pass_at_k(correct, k) == pytest.approx(np.mean(shares))


@given(correct=ATTEMPTS)
def test_pass_at_k_grows_from_the_share_of_right_ones_to_whether_any_is(correct):
    curve = [pass_at_k(correct, k) for k in (1, 2, 3, 4)]
    assert curve[0] == pytest.approx(np.mean([np.mean(attempts) for attempts in correct]))
    assert all(b >= a - 1e-12 for a, b in pairwise(curve))
    four = [attempts[:4] for attempts in correct]
    assert pass_at_k(four, 4) == pytest.approx(np.mean([any(attempts) for attempts in four]))


def test_pass_at_k_has_no_bias():
    """Attempts right with probability 0.3: 1 - 0.7^3 = 0.657 is expected from samples of 5, whatever their count."""
    p, expected = 0.3, 0.0
    for outcome in np.ndindex(*[2] * 5):
        expected += np.prod([p if o else 1 - p for o in outcome]) * pass_at_k([outcome], 3)
    assert expected == pytest.approx(1 - 0.7**3)


def test_plurality_wants_a_single_first_place():
    """4 4 5 wins for 4; 4 4 5 5 6 is a tie; 5 5 4 wins for 5; one attempt wins alone."""
    answers = [["4", "4", "5"], ["4", "4", "5", "5", "6"], ["5", "5", "4"], ["4"]]
    assert [plurality([given], ["4"]) for given in answers] == [1, 0, 0, 1]
    assert plurality(answers, ["4"] * 4) == 0.5


def test_plurality_lets_unread_answers_vote():
    """As the paper's code does: two unread answers outvote one right answer, three right ones outvote them."""
    assert plurality([[None, None, "4"]], ["4"]) == 0
    assert plurality([[None, None, "4", "4", "4"]], ["4"]) == 1


def test_consensus_wants_more_than_half():
    assert [consensus([attempts]) for attempts in ([1, 1, 0], [1, 0], [1, 0, 0], [1])] == [1, 0, 0, 1]
    assert consensus([[1, 1, 0], [1, 0]]) == 0.5


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_consensus_is_a_plurality_and_a_plurality_is_a_pass(answers):
    """An absolute majority comes first alone, and what comes first was answered."""
    correct = [[float(answer == "a") for answer in given] for given in answers]
    passed = np.mean([any(attempts) for attempts in correct])
    assert consensus(correct) <= plurality(answers, ["a"] * len(answers)) <= passed


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        (lambda: pass_at_k([[1, 0], [1, 0, 1]], 3), "k=3 must lie between 1 and 2"),
        (lambda: pass_at_k([[1, 0]], 0), "k=0 must lie between 1 and 2"),
        (lambda: pass_at_k([], 1), "no question"),
        (lambda: consensus([[]]), "without an attempt"),
        (lambda: plurality([], []), "no question"),
        (lambda: plurality([["4"]], []), "1 questions and 0 truths"),
        (lambda: pass_at_k([[1, float("nan")]], 1), "judged nan, but must be 0 or 1"),
        (lambda: consensus([[0.5]]), r"judged 0\.5, but must be 0 or 1"),
    ],
)
def test_what_cannot_be_counted_is_said(wrong, advice):
    with pytest.raises(ValueError, match=advice):
        wrong()


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_solves_its_equation(case):
    """Its ends are the shares p from which the seen share lies z standard deviations of p away."""
    successes, n = case
    found = wilson(successes, n)
    assert found.mean == successes / n
    for end in (found.low, found.high):
        assert abs((found.mean - end) ** 2 - 1.959964**2 * end * (1 - end) / n) < 1e-6
    assert -1e-12 <= found.low - 1e-12 <= found.mean <= found.high + 1e-12 <= 1 + 1e-11


def test_no_tries_are_no_share():
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)
