"""Causes back in time, and versions in order."""

import pytest
from loft import turns, view

from posttrain.memory.plain import PlainRun
from posttrain.memory.retrieval.walk import timeline, why


def chains(answer):
    return [each.value for each in answer.findings if each.what == "chain"]


def test_the_key_made_the_unlocking_possible():
    answer = why(view(), 6)
    assert any(chain[-2:] == [1, 6] for chain in chains(answer))
    assert {1} <= set(answer.turns)


def test_two_steps_back():
    """The key was taken (1), so the chest was unlocked (6), so it was opened (8)."""
    assert any(chain == [1, 6, 8] for chain in chains(why(view(), 8, hops=2)))
    assert all(len(chain) == 2 for chain in chains(why(view(), 8, hops=1)))


def test_only_causes_that_have_to_do_with_a_thing():
    found = chains(why(view(), 6, entity="Brass  Key", hops=1))
    assert found == [[1, 6]]


def test_causes_come_before_effects_and_each_edge_has_a_proof():
    log = {turn.turn: turn for turn in turns()}
    for turn in range(17):
        for each in why(view(), turn, hops=4).findings:
            assert each.value == sorted(set(each.value))
            assert each.value[-1] == turn
            for proof in each.proofs:
                assert 0 <= proof.start < proof.end <= len(log[proof.turn].text(proof.field))


@pytest.mark.parametrize(
    ("turn", "entity", "word"),
    [(99, None, "99"), (6, "golden key", "golden key"), (0, None, "No earlier step"), (6, "iron stove", "iron stove")],
)
def test_no_cause_says_why(turn, entity, word):
    answer = why(view(), turn, entity=entity)
    assert not answer
    assert word in answer.because


def test_an_unknown_name_brings_those_that_look_like_it():
    assert "brass key" in why(view(), 6, entity="brass keys").because
    assert "red lamp" in timeline(view(), "rad lamp").because


@pytest.mark.parametrize("hops", [0, 11, -1])
def test_hops_out_of_range_are_refused(hops):
    with pytest.raises(ValueError, match=f"hops={hops}"):
        why(view(), 6, hops=hops)


def test_a_timeline_has_all_versions_in_order():
    found = [each.value for each in timeline(view(), "Oak Chest", "state").findings]
    assert [(each["turn"], each["value"]) for each in found if each["turn"] > 5] == [
        (6, "closed"), (8, "open"), (11, "closed"), (15, "open"),
    ]  # fmt: skip
    assert found == sorted(found, key=lambda each: each["turn"])


def test_a_timeline_of_all_states_holds_that_of_each():
    whole = timeline(view(), "red lamp").findings
    places = timeline(view(), "red lamp", "location").findings
    assert places
    assert [each for each in whole if each in places] == list(places)


def test_a_timeline_stops_where_the_view_does():
    found = timeline(view(8), "oak chest", "state")
    assert max(found.turns) == 8
    assert found.findings == timeline(PlainRun(turns()[:9]).view(), "oak chest", "state").findings


@pytest.mark.parametrize(
    ("entity", "attribute", "word"), [("golden key", None, "golden key"), ("red lamp", "price", "price")]
)
def test_no_timeline_says_why(entity, attribute, word):
    answer = timeline(view(), entity, attribute)
    assert not answer
    assert word in answer.because
