"""Questions to a small log: evidence, findings, no evidence, budgets, and that nothing but the view counts."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loft import EVENTS, turns, view

from posttrain.memory.plain import PlainRun
from posttrain.memory.retrieval.ask import PARTS, ask
from posttrain.memory.rows import Turn
from posttrain.text import tokens as count

QUESTIONS = (
    "What did the agent do at step 9?",
    "Which earlier step made opening the oak chest at step 8 possible?",
    "Where was the red lamp right after step 11?",
    "How many times was the oak chest opened?",
    "In which steps was the red lamp moved?",
    "What did the agent do right after the oak chest was unlocked for the first time?",
    "Why could the silver ring be taken?",
    "iron stove",
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What did the agent do at step 9?", {9}),
        ("What did it do in steps 9 to 11?", {9, 10, 11}),
        ("List the last two actions.", {15, 16}),
        ("What happened at step 5 and at turn 13?", {5, 13}),
        ("At which step was the oak chest unlocked for the first time?", {6}),
        ("What did the agent do right after the oak chest was unlocked for the first time?", {6, 7}),
        ("Which earlier step made opening the oak chest at step 8 possible?", {6}),
        ("The oak chest was unlocked at step 6: which earlier step gave the agent the key for it?", {1, 6}),
        ("At step 13 the agent let go of the silver ring. From where had it taken it?", {10}),
        ("Where was the red lamp right after step 12?", {9}),
        ("Where was the red lamp after step 8?", {7}),
        ("Was the oak chest open, closed or locked right after step 7?", {6}),
        ("Was the oak chest open, closed or locked right after step 13?", {11}),
        ("In which room was the agent after step 3?", {2}),
        ("What was in the oak chest right after step 10?", {8, 9, 10}),
        ("What was the agent carrying right after step 11?", {1, 7, 9, 10}),
    ],
)
def test_evidence_of(question, expected):
    assert expected <= set(ask(view(), question).turns)


@pytest.mark.parametrize(
    ("question", "steps"),
    [
        ("How many times was the oak chest opened?", [8, 15]),
        ("How often was the oak chest opened between step 9 and step 16?", [15]),
        ("List every step in which the red lamp was moved.", [7, 9, 16]),
        ("In which steps from 8 to 16 did the red lamp change its place?", [9, 16]),
        ("Which steps did not work?", [5]),
        ("Which rooms did the agent enter from step 1 to step 13?", [2, 4, 12]),
        ("How many times did the agent enter the cellar?", [2, 12]),
        ("Which things did the agent pick up from step 0 to step 10?", [1, 7, 10]),
        ("How many times was the brass key dropped?", []),
    ],
)
def test_counts_and_lists_are_exact(question, steps):
    found = {each.what: each.value for each in ask(view(), question, turns=1).findings}
    assert (found["turns"], found["count"]) == (steps, len(steps))


def test_a_value_is_told_with_its_proof():
    found = next(
        each for each in ask(view(), "Was the oak chest open or closed after step 13?").findings if each.what == "value"
    )
    (proof,) = found.proofs
    assert found.value == "closed"
    assert turns()[proof.turn].text(proof.field)[proof.start : proof.end] == "closed"


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("What did the agent do at step 400?", "400"),
        ("What happened between steps 90 and 95?", "90"),
        ("Where was the golden lamp right after step 9?", "golden lamp"),
        ("At which step was the copper flute picked up for the first time?", "copper flute"),
        ("What did the label of the oak chest say right after step 9?", "label"),
        ("Where was the silver ring right after step 4?", "silver ring"),
    ],
)
def test_no_evidence_says_why(question, word):
    answer = ask(view(), question)
    assert not answer
    assert not answer.findings
    assert word in answer.because
    assert answer.because.endswith((".", ";", "?")) or "." in answer.because


def test_an_answer_with_evidence_gives_no_reason():
    assert all(ask(view(), question).because == "" for question in QUESTIONS)


def test_an_empty_run_has_no_evidence():
    assert "Nothing" in ask(PlainRun([]).view(), "What happened?").because


@pytest.mark.parametrize(("name", "value"), [("turns", 0), ("turns", -1), ("tokens", 0)])
def test_a_budget_without_room_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        ask(view(), "What happened?", **{name: value})


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="'magic'"):
        ask(view(), "What happened?", without=["magic"])


@given(st.sampled_from(QUESTIONS), st.integers(1, 20), st.none() | st.integers(1, 200))
def test_budgets_are_kept(question, most, room):
    answer = ask(view(), question, turns=most, tokens=room)
    assert 0 < len(answer.turns) <= most
    assert list(answer.turns) == sorted(set(answer.turns))
    if room is not None:
        assert sum(count(each.action) + count(each.observation) for each in answer.evidence) <= room + 1


@given(st.sampled_from(QUESTIONS))
def test_more_turns_never_take_one_away(question):
    found = [set(ask(view(), question, turns=most).turns) for most in (1, 3, 10, 100)]
    assert all(fewer <= more for fewer, more in itertools.pairwise(found))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("until", [0, 5, 8, 11, 16])
def test_a_view_answers_as_a_store_of_its_turns(question, until):
    answer = ask(view(until), question, explain=True)
    prefix = ask(PlainRun(turns()[: until + 1]).view(), question, explain=True)
    assert (answer.evidence, answer.findings, answer.because) == (prefix.evidence, prefix.findings, prefix.because)
    assert answer.explained == prefix.explained


words = st.sampled_from(
    ["lamp", "key", "chest", "door", "red", "oak", "open", "take", "put", "closed", "go", "east", "7", "error"]
)
texts = st.lists(words, max_size=6).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=12), st.data())
def test_nothing_later_than_the_view_shows(events, data):
    until = data.draw(st.integers(0, len(events) - 1))
    question = data.draw(texts) + data.draw(
        st.sampled_from(["", "?", " at step 3?", " where was the red lamp after step 2"])
    )
    whole, prefix = ask(view(until, events), question), ask(view(None, events[: until + 1]), question)
    assert (whole.evidence, whole.findings, whole.because) == (prefix.evidence, prefix.findings, prefix.because)


@pytest.mark.parametrize("question", QUESTIONS)
def test_order_of_arrival_and_the_runs_name_do_not_matter(question):
    shuffled = turns(run="other")
    random.Random(0).shuffle(shuffled)
    answer, other = ask(view(), question), ask(PlainRun(shuffled).view(), question)
    assert (answer.evidence, answer.findings) == (other.evidence, other.findings)


def test_a_log_that_begins_later_gives_the_same_steps_later():
    late = PlainRun([Turn("loft", turn.turn + 1000, turn.action, turn.observation) for turn in turns()]).view()
    found = ask(late, "Was the oak chest open, closed or locked right after step 1013?")
    same = ask(view(), "Was the oak chest open, closed or locked right after step 13?")
    assert found.turns == tuple(1000 + step for step in same.turns)


def test_the_same_thing_by_another_name_gives_the_same_steps():
    renamed = [
        (action.replace("red lamp", "red vase"), seen.replace("red lamp", "red vase")) for action, seen in EVENTS
    ]
    for question in QUESTIONS:
        assert ask(view(events=renamed), question.replace("red lamp", "red vase")).turns == ask(view(), question).turns


@pytest.mark.parametrize(
    "question",
    [
        '"red lamp" NEAR/3 chest',
        "lamp -chest",
        "action: lamp OR chest*",
        "red^2 AND (lamp",
        "lamp'; DROP TABLE turn; --",
        "[a-z]{1,}(lamp",
    ],
)
def test_operators_are_only_words(question):
    assert ask(view(), question).turns


@pytest.mark.parametrize(
    "question", ["red lamp " * 120_000, "\x00\ud800", "知道", "?" * 1_000_000, "(" * 10_000 + "lamp"]
)
def test_odd_questions_do_no_harm(question):
    answer = ask(view(), question)
    assert bool(answer) != bool(answer.because)


def test_every_part_can_be_left_out():
    for part in PARTS:
        for question in QUESTIONS:
            answer = ask(view(), question, without=[part], explain=True)
            assert part not in answer.explained.get("signals", {})


@pytest.mark.parametrize(
    ("part", "question", "step"),
    [
        ("address", "What did the agent do at step 3?", 3),
        ("edges", "Which earlier step made opening the oak chest at step 8 possible?", 6),
        ("time", "Was the oak chest open, closed or locked right after step 7?", 6),
        ("scan", "In which steps was the red lamp moved?", 16),
    ],
)
def test_each_part_earns_its_place(part, question, step):
    """With it, the step that answers counts for more than without."""

    def score(**given):
        return {each.turn: each.score for each in ask(view(), question, turns=100, **given).evidence}.get(step, 0.0)

    assert score() > score(without=[part])


def test_the_explanation_names_plan_and_signals():
    explained = ask(view(), "Where was the red lamp right after step 11?", explain=True).explained
    assert explained["plan"]["names"] == ("red lamp",)
    assert {"address", "action", "news", "state"} <= set(explained["signals"])
    assert (9, 6.0) in explained["signals"]["state"]
    assert not ask(view(), "Where was the red lamp?").explained


def test_evidence_says_which_signals_chose_it():
    found = {each.turn: each.signals for each in ask(view(), "Where was the red lamp right after step 11?").evidence}
    assert "state" in found[9]
    assert "address" in found[11]
