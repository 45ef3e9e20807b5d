"""The cache of second-order rollout: what enters, what is drawn, and that nothing is lost or repeated on any rank."""

import copy
import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl.second_order import SecondOrder, collect, draw, refill
from rl.critics import LABELS, MIXED, NAN, Script, answers, entries, extend, full, generation, interleaved, pay

# What is judged


@given(labels=LABELS, step=st.integers(0, 99))
def test_the_filter_takes_one_right_and_one_wrong_answer_of_every_mixed_question_and_nothing_else(labels, step):
    entries = collect(answers(labels, step))
    mixed = [q for q, row in enumerate(labels) if {0.0, 1.0} <= set(row)]
    assert [entry["key"] for entry in entries] == [f"q{q}" for q in mixed]
    for entry, q in zip(entries, mixed, strict=True):
        chosen = [int(text.rstrip(".").split(".")[-1]) for text in entry["responses"]]
        assert entry["responses"] == [f"answer {step}.{q}.{i}." for i in chosen]
        assert [labels[q][i] for i in chosen] == [1.0, 0.0]
        assert entry["right"] == [True, False]
        assert (entry["prompt"], entry["step"]) == (f"question {q}?", step)


@given(labels=LABELS, step=st.integers(0, 99))
def test_random_selection_takes_two_different_answers_with_their_verdicts(labels, step):
    entries = collect(answers(labels, step), "random")
    known = {q: [i for i, label in enumerate(row) if label == label] for q, row in enumerate(labels)}
    assert [entry["key"] for entry in entries] == [f"q{q}" for q, places in known.items() if len(places) > 1]
    for entry in entries:
        q = int(entry["key"][1:])
        chosen = [int(text.rstrip(".").split(".")[-1]) for text in entry["responses"]]
        assert len(set(chosen)) == 2
        assert [labels[q][i] == 1 for i in chosen] == entry["right"]


def test_random_selection_keeps_the_share_of_right_answers():
    """One right answer of four: a share of 1/4 in the cache, within four standard errors of 800 draws."""
    entries = collect(answers([[1, 0, 0, 0]] * 400), "random")
    share = sum(sum(entry["right"]) for entry in entries) / (2 * len(entries))
    assert share == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 800))


@pytest.mark.parametrize("selection", ["filter", "random"])
@pytest.mark.parametrize("missing", ["reward", "verdict"])
def test_an_answer_without_reward_or_verdict_is_never_judged(selection, missing):
    """Two of three answers are known, so they are the ones that are chosen."""
    correct, rewards = [[1.0, 0.0, 1.0]] * 20, [1.0, 0.0, 1.0] * 20
    if missing == "reward":
        rewards = [1.0, 0.0, NAN] * 20
    else:
        correct = [[1.0, 0.0, NAN]] * 20
    entries = collect(answers(correct, rewards=rewards), selection)
    assert len(entries) == 20
    assert all(not text.endswith(".2.") for entry in entries for text in entry["responses"])


@given(labels=LABELS, seed=st.integers(0, 99), selection=st.sampled_from(["filter", "random"]))
def test_the_full_table_gives_the_same_entries_as_the_answers(labels, seed, selection):
    """Whatever the extra rows say and wherever they stand."""
    table = answers(labels, step=3)
    rows = extend(SecondOrder(), answers(MIXED))
    order = interleaved(len(table.prompt_key), len(rows), seed)
    whole = full(table, rows, [1.0] * len(rows), order)
    whole = replace(whole, correct=torch.where(whole.answers, whole.correct, 1.0))
    assert collect(whole, selection) == collect(table, selection)


def test_nothing_is_added_in_evaluation():
    sampler = Script()
    assert extend(SecondOrder(), replace(answers(MIXED), training=False), None, sampler) == []
    assert not sampler.calls


@pytest.mark.parametrize("labels", [[[1, 1]], [[0, 0]], [[1], [0]], [[NAN, 1.0]]])
def test_with_an_empty_cache_the_step_trains_on_answers_only_and_says_so(labels):
    method, sampler, table = SecondOrder(), Script(), answers(labels)
    rows, memory = generation(method, table, method.initial_state(), sampler)
    assert rows == []
    assert not sampler.calls
    assert memory.state == method.initial_state()
    assert memory.metrics == {
        "critique/pairs": 0, "critique/cache": 0, "critique/ratio": 0, "critique/tokens": 0
    }  # fmt: skip
    assert method.remember(table, method.initial_state()) == memory


def test_as_many_pairs_as_questions_makes_answers_and_critiques_equally_many():
    """4 questions x 5 answers; 4 pairs x 5 critiques."""
    method = SecondOrder()
    rows, memory = generation(method, answers(MIXED), method.initial_state())
    assert len(rows) == 20
    assert memory.metrics["critique/pairs"] == 4
    assert memory.metrics["critique/ratio"] == 1


@pytest.mark.parametrize(("questions", "pairs", "expected"), [(1, 0, 2), (3, 0, 4), (8, 0, 8), (8, 4, 4), (2, 64, 4)])
def test_the_number_of_pairs(questions, pairs, expected):
    rows = extend(SecondOrder(pairs=pairs), answers([[1, 0]] * questions))
    assert len({row.group for row in rows}) == expected
    assert Counter(Counter(row.group for row in rows).values()) == {5: expected}


# Ranks


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 7, 8, 10, 16])
@pytest.mark.parametrize("denoise", [0, 1])
@given(waiting=st.integers(0, 12), critiques=st.integers(2, 6), step=st.integers(0, 9))
def test_ranks_share_one_draw_equally(ranks, denoise, waiting, critiques, step):
    method = SecondOrder(critiques=critiques, denoise=denoise, pairs=6, cache_size=40)
    state = {"cache": collect(answers([[1, 0, 0]] * waiting)), "p": None}
    table = answers([[1, 1]], step=step)
    samplers = [Script(rank=rank, ranks=ranks) for rank in range(ranks)]
    by_rank = [extend(method, table, state, sampler) for sampler in samplers]
    assert len({len(rows) for rows in by_rank}) == 1
    assert len({tuple(sampler.calls) for sampler in samplers}) == 1
    rows = [row for rows in by_rank for row in rows]
    judged = Counter((row.notes["place"], row.notes["right"]) for row in rows)
    assert set(judged.values()) <= {critiques}
    places = {place for place, _ in judged}
    assert len(judged) == 2 * len(places)
    assert Counter(Counter(row.group for row in rows).values()) == ({critiques: len(judged)} if rows else {})
    unit = ranks // math.gcd(ranks, 2 * critiques)
    assert len(places) == min(math.ceil(3 / unit) * unit, waiting // unit * unit)
    after = method.remember(full(table, rows, [0.0] * len(rows)), state).state["cache"]
    assert after == [entry for place, entry in enumerate(state["cache"]) if place not in places]


def test_a_cache_holds_what_equal_shares_for_many_ranks_take():
    """64 ranks share no fewer than 32 entries of 10 critiques; 4 times 8 questions' pairs would be 16 entries."""
    method, state, drawn = SecondOrder(critiques=5), SecondOrder().initial_state(), []
    for step in range(8):
        table = answers([[1, 0]] * 8, step, ranks=64)
        rows = [r for rank in range(64) for r in extend(method, table, state, Script(rank=rank, ranks=64))]
        drawn.append(len(rows))
        state = method.remember(full(table, rows, [0.0] * len(rows)), state).state
    assert drawn == [0, 0, 0, 320, 0, 0, 0, 320]
    assert state["cache"] == []


def test_one_and_two_ranks_judge_the_same_pairs():
    state = {"cache": collect(answers([[1, 0]] * 20)), "p": None}
    table = answers([[1, 1]] * 6, step=5)
    one = extend(SecondOrder(), table, state)
    two = [row for rank in (0, 1) for row in extend(SecondOrder(), table, state, Script(rank=rank, ranks=2))]
    assert [(row.group, row.prompt, row.notes) for row in one] == [(row.group, row.prompt, row.notes) for row in two]


# The cache


@given(old=st.lists(st.integers(0, 9), max_size=9), new=st.integers(0, 9), size=st.integers(0, 12))
def test_the_cache_is_first_in_first_out_and_bounded(old, new, size):
    both = entries([*sorted(old), *[9] * new])
    kept = refill(both[: len(old)], both[len(old) :], size)
    assert len(kept) == min(len(both), size)
    assert kept == both[len(both) - len(kept) :]


@given(steps=st.lists(st.integers(0, 9), max_size=9), oldest=st.integers(0, 9))
def test_old_entries_are_dropped_whatever_the_size(steps, oldest):
    cache = entries(sorted(steps))
    assert refill(cache, [], 99, oldest) == [entry for entry in cache if entry["step"] >= oldest]


@pytest.mark.parametrize(("max_age", "kept"), [(3, False), (4, True), (0, True)])
def test_a_pair_may_be_as_old_as_max_age(max_age, kept):
    rows = extend(SecondOrder(max_age=max_age), answers([[1, 1]], step=14), {"cache": entries([10]), "p": None})
    assert bool(rows) == kept


@pytest.mark.parametrize(("cache_size", "pairs", "waiting"), [(0, 0, 24), (0, 2, 8), (6, 4, 6)])
def test_the_cache_holds_four_times_the_pairs_of_a_generation_unless_told(cache_size, pairs, waiting):
    """6 questions, so M = 6 by default, and more than enough entries; what is left is the size less the drawn pairs."""
    method = SecondOrder(cache_size=cache_size, pairs=pairs, max_age=0)
    _, memory = generation(method, answers([[1, 0]] * 6, step=9), {"cache": entries([0] * 50), "p": None})
    assert memory.metrics["critique/cache"] == waiting - (pairs or 6)


@given(count=st.integers(0, 20), step=st.integers(0, 99), data=st.data())
def test_a_draw_is_without_replacement_and_the_same_in_every_process(count, step, data):
    m = data.draw(st.integers(0, count))
    places = draw(entries([0] * count), m, step)
    assert len(set(places)) == len(places) == m
    assert set(places) <= set(range(count))
    assert places == draw(entries([0] * count), m, step)


def test_draws_differ_from_step_to_step_and_reach_every_entry():
    cache = entries([0] * 6)
    assert {place for step in range(50) for place in draw(cache, 2, step)} == set(range(6))


@given(labels=st.lists(LABELS, min_size=1, max_size=5), pairs=st.sampled_from([2, 4, 8]))
def test_every_entry_is_judged_at_most_once_and_else_waits_or_is_pushed_out(labels, pairs):
    method = SecondOrder(critiques=2, pairs=pairs, cache_size=8, max_age=0)
    state, expected, judged = method.initial_state(), [], []
    for step, generation_labels in enumerate(labels):
        table = answers(generation_labels, step)
        expected = (expected + collect(table))[-4:]
        rows, memory = generation(method, table, json.loads(json.dumps(state)))
        drawn = {row.notes["place"] for row in rows}
        assert len(drawn) == min(pairs // 2, len(expected))
        judged += [tuple(expected[place]["responses"]) for place in drawn]
        expected = [entry for place, entry in enumerate(expected) if place not in drawn]
        state = memory.state
        assert state["cache"] == expected
    assert len(set(judged)) == len(judged)


def test_a_run_that_dies_between_sampling_and_remembering_repeats_the_same_draw():
    method, table = SecondOrder(pairs=2), answers([[1, 0, 0]] * 5, step=2)
    state = {"cache": entries([1, 1, 1]), "p": None}
    before = copy.deepcopy(state)
    first = extend(method, table, state)
    assert state == before
    again, memory = generation(method, table, state)
    assert [row.notes for row in again] == [row.notes for row in first]
    assert state == before
    assert memory == method.remember(full(table, first, pay(method, first)), state)


@pytest.mark.parametrize("prompt", ["question?", [{"role": "user", "content": "question?"}]])
def test_the_state_survives_json(prompt):
    method = SecondOrder(selection="random", reweight=True, pairs=2)
    table = answers([[1, 0, 0]] * 5)
    table = replace(table, prompts=[prompt] * 15)
    _, memory = generation(method, table, method.initial_state())
    assert memory.state["cache"]
    restored = json.loads(json.dumps(memory.state))
    assert restored == memory.state
    later = answers([[1, 1]], step=1)
    assert extend(method, later, restored) == extend(method, later, memory.state)
