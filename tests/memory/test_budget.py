"""Evidence within a budget of tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.memory.answer import Evidence
from posttrain.memory.retrieval.budget import CUT, cut, fitted
from posttrain.memory.rows import Proof
from posttrain.text import tokens

long_texts = st.text(max_size=400) | st.text("ab ", min_size=100, max_size=2000)
evidences = st.lists(st.tuples(long_texts, long_texts), min_size=1, max_size=6).map(
    lambda pairs: [Evidence(turn, action, seen, 1.0) for turn, (action, seen) in enumerate(pairs)]
)


def size(each):
    return tokens(each.action) + tokens(each.observation)


@given(evidences, st.integers(1, 400))
def test_all_of_it_fits(evidence, budget):
    assert sum(map(size, fitted(evidence, budget))) <= budget


@given(evidences)
def test_what_fits_stays_as_it_is(evidence):
    assert fitted(evidence, None) == tuple(evidence)
    assert fitted(evidence, 3 * sum(map(size, evidence)) + 3) == tuple(evidence)


@given(evidences, st.integers(1, 400))
def test_a_cut_text_is_a_part_of_the_text(evidence, budget):
    whole = {each.turn: each for each in evidence}
    for each in fitted(evidence, budget):
        assert each.action.strip(CUT) in whole[each.turn].action
        assert each.observation.strip(CUT) in whole[each.turn].observation


def test_the_best_comes_first_and_the_order_is_by_turn():
    found = fitted([Evidence(9, "a" * 36, "", 2.0), Evidence(1, "b" * 36, "", 1.0), Evidence(5, "c" * 36, "", 0.5)], 20)
    assert [each.turn for each in found] == [1, 9]


@pytest.mark.parametrize("start", [0, 3000, 4970])
def test_a_cut_keeps_its_proof(start):
    text = "x" * start + "the chest is open" + "x" * (5000 - start)
    proof = Proof(0, "observation", start, start + 17)
    found = cut(Evidence(0, "open chest", text, 1.0, (proof,)), 60)
    assert "the chest is open" in found.observation
    assert CUT in found.observation
    assert size(found) <= 60
