"""Safety units: sums by hand, and the laws that the rules keep."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.edit.units import UnitRule, jaccard, pooled, safety_units, standard


def drawn(seed=0, harmful=30, harmless=40, units=50, risen=(3, 7, 20), by=3.0):
    draw = torch.Generator().manual_seed(seed)
    bad, good = (torch.randn(n, units, generator=draw, dtype=torch.float64) for n in (harmful, harmless))
    bad[:, list(risen)] += by
    return bad, good


def test_by_hand():
    """Two units, two prompts of each kind: rises 4 and 0, deviations with n - 1 of sqrt(2), so d = 4 / sqrt(2)."""
    harmful = torch.tensor([[5.0, 1.0], [7.0, 3.0]])
    harmless = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    units = safety_units(harmful, harmless)
    torch.testing.assert_close(units.z, torch.tensor([1.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(units.d, torch.tensor([4 / 2**0.5, 0.0], dtype=torch.float64))
    assert units.chosen.tolist() == [0]
    assert safety_units(harmful, harmless, UnitRule("magnitude")).chosen.tolist() == []


def test_cohens_d_is_that_of_the_textbook():
    harmful, harmless = drawn()
    a, b = harmful[:, 3].numpy(), harmless[:, 3].numpy()
    by_hand = (a.mean() - b.mean()) / (
        ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    ) ** 0.5
    assert float(safety_units(harmful, harmless).d[3]) == pytest.approx(by_hand)
    assert float(pooled(harmful, harmless)[3]) == pytest.approx((a.mean() - b.mean()) / by_hand)


@pytest.mark.parametrize("rule", ["union", "both", "magnitude", "effect", "probe"])
def test_every_rule_finds_units_that_rise_and_none_that_fall(rule):
    harmful, harmless = drawn()
    harmful[:, 11] -= 3.0
    assert safety_units(harmful, harmless, UnitRule(rule)).chosen.tolist() == [3, 7, 20]


@given(seed=st.integers(0, 10**6), tau=st.floats(0.0, 3.0))
@settings(max_examples=30, deadline=None)
def test_the_union_holds_both_rules_and_both_is_in_each(seed, tau):
    harmful, harmless = drawn(seed, by=1.0)
    found = {
        rule: set(safety_units(harmful, harmless, UnitRule(rule, tau, tau)).chosen.tolist())
        for rule in ("union", "both", "magnitude", "effect")
    }
    assert found["union"] == found["magnitude"] | found["effect"]
    assert found["both"] == found["magnitude"] & found["effect"]


@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100.0), shift=st.floats(-5.0, 5.0))
@settings(max_examples=30, deadline=None)
def test_units_do_not_depend_on_scale_shift_or_order(seed, scale, shift):
    harmful, harmless = drawn(seed, by=1.5)
    plain = safety_units(harmful, harmless)
    moved = safety_units(scale * harmful.flip(0) + shift, scale * harmless.flip(0) + shift)
    torch.testing.assert_close(moved.z, plain.z, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(moved.d, plain.d, rtol=1e-6, atol=1e-6)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    turned = safety_units(harmful[:, order], harmless[:, order])
    assert sorted(order[turned.chosen].tolist()) == plain.chosen.tolist()


def test_units_that_never_vary_are_no_division_by_zero():
    harmful, harmless = drawn(units=4, risen=())
    harmful[:, 0] = harmless[:, 0] = 2.0
    harmful[:, 1], harmless[:, 1] = 5.0, 0.0
    units = safety_units(harmful, harmless)
    assert bool(torch.isfinite(units.d).all())
    assert float(units.d[0]) == 0.0
    assert 1 in units.chosen.tolist()
    same = torch.ones(3, 4)
    assert safety_units(same, same).chosen.tolist() == []
    assert not standard(torch.ones(4)).any()


def test_jaccard_by_hand():
    units = {"en": torch.tensor([1, 2, 3]), "bn": torch.tensor([3, 4]), "xx": torch.tensor([9]), "yy": torch.tensor([])}
    found = jaccard(units)
    assert found["en", "bn"] == 1 / 4
    assert found["en", "xx"] == 0.0
    assert jaccard({"a": units["yy"], "b": units["yy"]}) == {("a", "b"): 1.0}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda a, b: safety_units(a[:1], b), "2 prompts or more"),
        (lambda a, b: safety_units(a[:, :3], b), "harmful has 3 units and harmless 50"),
        (lambda a, b: safety_units(a, b * float("nan")), "Prompt 0 of harmless"),
        (lambda a, b: UnitRule("most"), "rule='most' is unknown"),
        (lambda a, b: UnitRule(probe_ridge=0), "probe_ridge=0 must be above 0"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(*drawn())
