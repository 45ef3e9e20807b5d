"""CEEH: its length term, its hard prompts and what it remembers; `test_ceeh_entropy.py` has how it explores.

`slow_generation` is written from the paper's pseudo-code, answer by answer in exact fractions, and shares no code with
the package. Rates of 1/4 and 1/16 and powers of two of answers keep the package's floats exact, so ties are ties.
"""

import copy
import itertools
import json
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import Recipe, Table, rlad
from posttrain.rl.ceeh import CEEH


class Answer(NamedTuple):
    """One row of a table."""

    key: str
    correct: float
    length: int = 10
    group: int = 0
    reward: float | None = None
    extra: bool = False


def table(*answers: Answer, **fields) -> Table:
    rewards = [a.correct if a.reward is None else a.reward for a in answers]
    return Table(
        torch.tensor(rewards, dtype=torch.float64),
        torch.tensor([a.group for a in answers]),
        torch.tensor([a.correct for a in answers], dtype=torch.float64),
        [a.key for a in answers],
        torch.tensor([a.length for a in answers]),
        extra=torch.tensor([a.extra for a in answers]),
        **fields,
    )


def history(accuracy=None, length=None):
    return {"accuracy": dict(accuracy or {}), "length": dict(length or {})}


def advantages(method, answers, state=None) -> list[float]:
    return Recipe.of(method).credit(table(*answers), {"ceeh": state or history()}).advantages.tolist()


def hard_keys(method, answers, state) -> set[str]:
    rows = table(*answers)
    return {key for key, hard in zip(rows.prompt_key, method.credit(rows, state).columns["hard"], strict=True) if hard}


# -- an independent slow reference --------------------------------------------------------------------------------


@dataclass
class Slow:
    """What one generation gives, by the pseudo-code."""

    advantages: list[float]
    hard: list[bool]
    accuracy: dict[str, Fraction]
    length: dict[str, Fraction]


def slow_generation(method: CEEH, answers: list[Answer], acc_h: dict, best: dict) -> Slow:
    beta, floor, rise, fall = (Fraction(x) for x in (method.beta, method.floor, method.rise, method.fall))
    counts = [not a.extra and not math.isnan(a.correct) and a.reward is None for a in answers]
    acc = {}
    for key in {a.key for a in answers}:
        verdicts = [int(a.correct) for a, counted in zip(answers, counts, strict=True) if counted and a.key == key]
        if verdicts:
            acc[key] = Fraction(sum(verdicts), len(verdicts))
    total, hard = [], []
    for a, counted in zip(answers, counts, strict=True):
        is_hard = False
        if acc_h:
            mean = sum(acc_h.values()) / len(acc_h)
            if method.difficulty == "current":
                is_hard = a.key in acc and acc[a.key] <= mean
            elif a.key in acc_h or a.key in acc:
                is_hard = (acc_h[a.key] if a.key in acc_h else acc[a.key]) < mean
        hard.append(is_hard)
        bonus = Fraction(0)
        if counted and a.correct == 1 and a.key in best:
            gate = acc[a.key] >= acc_h[a.key] if method.gate == "reached" else acc[a.key] > acc_h[a.key]
            if gate:
                bonus = max(-floor, beta * (best[a.key] - max(a.length, 1)) / best[a.key])
        reward = a.correct if a.reward is None else a.reward
        total.append(None if math.isnan(reward) else Fraction(reward) + bonus)
    credits = []
    for a, mine in zip(answers, total, strict=True):
        peers = [t for b, t in zip(answers, total, strict=True) if b.group == a.group and t is not None]
        credits.append(0.0 if mine is None else float(mine - sum(peers) / len(peers)))
    acc_h, best = dict(acc_h), dict(best)
    for key, now in acc.items():
        before = acc_h.get(key)
        acc_h[key] = now if before is None else before + (rise if now > before else fall) * (now - before)
    for key in acc:
        right = [max(a.length, 1) for a, c in zip(answers, counts, strict=True) if c and a.correct and a.key == key]
        if right:
            before, now = best.get(key, min(right)), min(right)
            rate = rise if now < before else fall
            best[key] = before + rate * (now - before) if method.reference == "average" else min(before, now)
    return Slow(credits, hard, acc_h, best)


@st.composite
def generations(draw):
    """Up to four generations over five prompts; beside the answers that count there are some that do not."""
    other = st.sampled_from(["unscored", "unknown", "extra"])
    out = []
    for _ in range(draw(st.integers(1, 4))):
        answers: list[Answer] = []
        for key in draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)):
            size = draw(st.sampled_from([1, 2, 4]))
            for _ in range(draw(st.sampled_from([1, 1, 2]))):
                group = len({a.group for a in answers})
                for _ in range(size):
                    answers.append(Answer(key, float(draw(st.booleans())), draw(st.integers(0, 40)), group))
                for kind in draw(st.lists(other, max_size=2)):
                    length, correct = draw(st.integers(0, 40)), math.nan
                    reward = {"unscored": math.nan, "unknown": 0.5, "extra": 0.25}[kind]
                    answers.append(Answer(key, correct, length, group, reward, kind == "extra"))
        out.append(draw(st.permutations(answers)))
    return out


@given(
    runs=generations(),
    beta=st.floats(0, 1),
    reference=st.sampled_from(["minimum", "average"]),
    difficulty=st.sampled_from(["history", "current"]),
    gate=st.sampled_from(["above", "reached"]),
)
def test_credit_and_remember_agree_with_the_slow_reference(runs, beta, reference, difficulty, gate):
    method = CEEH(beta=beta, rise=0.25, fall=0.0625, reference=reference, difficulty=difficulty, gate=gate)
    recipe = Recipe.of(method)
    state, acc_h, best = recipe.initial_state(), {}, {}
    for answers in runs:
        slow = slow_generation(method, answers, acc_h, best)
        before, rows = copy.deepcopy(state), table(*answers)
        credit = recipe.credit(rows, state)
        assert credit.advantages.tolist() == pytest.approx(slow.advantages, abs=1e-12)
        assert credit.columns["hard"].bool().tolist() == slow.hard
        after = recipe.remember(rows, state).state
        assert state == before  # neither hook changes what it was given
        assert json.loads(json.dumps(after)) == after
        assert after["ceeh"]["accuracy"] == slow.accuracy
        assert after["ceeh"]["length"] == slow.length
        state, acc_h, best = json.loads(json.dumps(after)), slow.accuracy, slow.length


# -- the length term ----------------------------------------------------------------------------------------------


def test_the_length_term_by_hand():
    """L_x = 100 and beta = 0.1: lengths 50, 100, 200 give +0.05, 0, -0.1; 5000 would give -4.9 and gives -0.9.

    With the wrong answer the rewards are 1.05, 1, 0.9, 0.1 and 0: mean 0.61.
    """
    answers = [Answer("x", 1, n) for n in (50, 100, 200, 5000)] + [Answer("x", 0, 10)]
    found = advantages(CEEH(), answers, history({"x": 0.5}, {"x": 100}))
    assert found == pytest.approx([0.44, 0.39, 0.29, -0.51, -0.61])


@given(
    lengths=st.lists(st.integers(0, 10**6), min_size=1, max_size=6),
    wrong=st.lists(st.integers(0, 10**6), min_size=1, max_size=6),
    reference=st.floats(1, 10**6),
    beta=st.floats(0, 1),
    floor=st.floats(0, 0.99),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_correct_answer_always_beats_a_wrong_one(lengths, wrong, reference, beta, floor, dtype):
    rows = table(*[Answer("x", 1, n) for n in lengths], *[Answer("x", 0, n) for n in wrong])
    rows = replace(rows, rewards=rows.rewards.to(dtype))
    found = CEEH(beta=beta, floor=floor).credit(rows, history({"x": 0.0}, {"x": reference})).advantages
    assert found[: len(lengths)].min() > found[len(lengths) :].max()
    assert (found[len(lengths) :] < 0).all()


@given(lengths=st.lists(st.integers(1, 1000), min_size=2, max_size=6), beta=st.floats(0.01, 1))
def test_of_two_correct_answers_the_shorter_never_gets_less(lengths, beta):
    found = advantages(CEEH(beta=beta), [Answer("x", 1, n) for n in lengths], history({"x": 0.5}, {"x": 30}))
    ordered = [a for _, a in sorted(zip(lengths, found, strict=True), key=lambda pair: pair[0])]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(ordered))


@pytest.mark.parametrize(("gate", "least"), [("above", 3), ("reached", 2)])
@pytest.mark.parametrize("right_of_4", [1, 2, 3, 4])
def test_the_gate_compares_the_accuracy_with_its_history(gate, least, right_of_4):
    """Acc_h = 1/2."""
    shortens = right_of_4 >= least
    answers = [Answer("x", float(i < right_of_4), 10) for i in range(4)]
    state = history({"x": 0.5}, {"x": 20})
    rewards = [a.correct * (1.05 if shortens else 1.0) for a in answers]
    found = advantages(CEEH(gate=gate), answers, state)
    assert found == pytest.approx([r - sum(rewards) / 4 for r in rewards])
    metrics = CEEH(gate=gate).credit(table(*answers), state).metrics
    assert metrics["ceeh/shortened"] == float(shortens)
    assert metrics["ceeh/bonus"] == pytest.approx(0.05 * shortens)


def test_a_prompt_that_was_always_solved_is_shortened_only_when_reaching_opens_the_gate():
    answers = [Answer("x", 1, 20), Answer("x", 1, 5)]
    state = history({"x": 1.0}, {"x": 10})
    assert advantages(CEEH(), answers, state) == [0, 0]
    assert advantages(CEEH(gate="reached"), answers, state) == pytest.approx([-0.075, 0.075])


@given(correct=st.lists(st.booleans(), min_size=2, max_size=6), length=st.integers(0, 99))
def test_a_first_visit_has_no_length_term(correct, length):
    """Nor has any visit before the first correct answer: there is no L_x."""
    answers = [Answer("x", float(c), length * (i + 1)) for i, c in enumerate(correct)]
    mean = sum(correct) / len(correct)
    for state in (history(), history({"y": 0.1}, {"y": 3}), history({"x": 0.0})):
        found = advantages(CEEH(beta=1.0, gate="reached"), answers, state)
        assert found == pytest.approx([c - mean for c in correct])


def test_a_generation_without_a_correct_answer_has_no_length_term_and_keeps_its_reference():
    """All truncated and wrong: A = 0, Acc_h falls from 0.4 to 0.38, L_x stays."""
    answers = [Answer("x", 0, 4096) for _ in range(4)]
    state = history({"x": 0.4}, {"x": 50})
    assert advantages(CEEH(beta=1.0), answers, state) == [0, 0, 0, 0]
    assert CEEH().credit(table(*answers), state).metrics["ceeh/bonus"] == 0
    assert CEEH().remember(table(*answers), state).state == history({"x": pytest.approx(0.38)}, {"x": 50})


def test_a_truncated_answer_counts_in_the_accuracy():
    """One of two is right: 1/2, at Acc_h = 0.6 no length term, though the only finished answer is right."""
    answers = [Answer("x", 1, 10), Answer("x", 0, 4096)]
    assert advantages(CEEH(), answers, history({"x": 0.6}, {"x": 20})) == [0.5, -0.5]


def test_an_empty_completion_counts_as_one_token():
    answers = [Answer("x", 1, 0), Answer("x", 1, 4)]
    state = CEEH().remember(table(*answers), history()).state
    assert state["length"] == {"x": 1}
    found = advantages(CEEH(gate="reached"), answers, state)  # terms 0 and -0.3
    assert found == pytest.approx([0.15, -0.15])


def test_one_prompt_in_two_groups_has_one_accuracy_and_one_reference():
    """Acc = 1/2 over both groups is below Acc_h = 0.6, so the gate is closed, though group 0 is all right.

    The advantages are each group's own.
    """
    answers = [Answer("x", 1, 10, 0), Answer("x", 1, 30, 0), Answer("x", 0, 5, 1), Answer("x", 0, 5, 1)]
    assert advantages(CEEH(), answers, history({"x": 0.6}, {"x": 20})) == [0, 0, 0, 0]
    assert advantages(CEEH(), answers, history({"x": 0.4}, {"x": 20})) == pytest.approx([0.05, -0.05, 0, 0])
    after = CEEH().remember(table(*answers), history()).state
    assert after == history({"x": 0.5}, {"x": 10})


@pytest.mark.parametrize(
    ("other", "its_advantage"),
    [
        (Answer("x", math.nan, 1, 0, reward=math.nan), 0.0),
        (Answer("x", 1.0, 1, 0, reward=math.nan), 0.0),
        (Answer("x", math.nan, 1, 9, reward=0.5, extra=True), 0.0),  # alone in its group
        (Answer("x", math.nan, 1, 0, reward=0.5), 0.0),  # the mean of 1, 0 and 0.5
        (Answer("x", math.nan, 1, 0, reward=0.5, extra=True), 0.0),
        (Answer("x", 1.0, 1, 9, extra=True), 0.0),
    ],
    ids=["unscored", "right but unscored", "extra", "unknown", "extra in the group", "extra with a verdict"],
)
def test_rows_that_do_not_count_leave_the_others_as_they_are(other, its_advantage):
    """They are short: counted, each would open or close the gate, or lower L_x."""
    answers = [Answer("x", 1, 10), Answer("x", 0, 10), Answer("y", 1, 10, 1), Answer("y", 0, 10, 1)]
    state = history({"x": 0.5, "y": 0.6}, {"x": 20, "y": 20})
    without, with_it = (CEEH().credit(table(*rows), state) for rows in (answers, [*answers, other]))
    assert with_it.advantages.tolist() == pytest.approx([*without.advantages.tolist(), its_advantage])
    assert with_it.columns["hard"].tolist() == [1, 1, 0, 0, 1]  # the column is there for every row
    assert with_it.metrics == without.metrics
    remembered = [CEEH().remember(table(*rows), state) for rows in (answers, [*answers, other])]
    assert remembered[0] == remembered[1]


def test_a_row_that_does_not_count_still_gets_its_group_advantage():
    """Rewards 1.05, 0 and an extra 0.25 of unknown correctness."""
    answers = [Answer("x", 1, 10), Answer("x", 0, 10), Answer("x", math.nan, 1, reward=0.25, extra=True)]
    mean = 1.3 / 3
    found = advantages(CEEH(), answers, history({"x": 0.4}, {"x": 20}))
    assert found == pytest.approx([1.05 - mean, -mean, 0.25 - mean])


def test_a_generation_without_any_judged_answer():
    """Everything unscored: nothing is learnt, nothing is remembered, and no metric is NaN."""
    rows = table(Answer("x", math.nan, reward=math.nan), Answer("y", math.nan, reward=math.nan))
    credit = Recipe.of(CEEH()).credit(rows)
    assert credit.advantages.tolist() == credit.columns["hard"].tolist() == [0, 0]
    memory = CEEH().remember(rows, history())
    assert memory.state == history()
    assert {*credit.metrics.values()} == {*memory.metrics.values()} == {0.0}


# -- which prompts are hard ---------------------------------------------------------------------------------------


def test_hard_prompts_by_hand():
    """Acc_h 0.2, 0.8 and 0.5: mean 0.5. `new` and `best` are unset, with 1/3 and 1 now; `easy` fails today."""
    state = history({"hard": 0.2, "easy": 0.8, "middle": 0.5})
    answers = [Answer("hard", 1), Answer("easy", 0), Answer("middle", 1), Answer("best", 1)]
    answers += [Answer("new", c) for c in (1.0, 0.0, 0.0)]
    assert hard_keys(CEEH(), answers, state) == {"hard", "new"}
    assert hard_keys(CEEH(difficulty="current"), answers, state) == {"easy", "new"}
    assert CEEH().credit(table(*answers), state).metrics["ceeh/hard"] == pytest.approx(2 / 5)


@pytest.mark.parametrize("difficulty", ["history", "current"])
def test_nothing_is_hard_before_there_is_a_history(difficulty):
    answers = [Answer("a", 0), Answer("b", 1)]
    assert hard_keys(CEEH(difficulty=difficulty), answers, history()) == set()


@given(accuracy=st.floats(0, 1), prompts=st.integers(1, 40))
def test_equal_histories_make_nothing_hard(accuracy, prompts):
    """Whatever rounding does to their mean; the released code's <= makes the same prompts all hard."""
    keys = [str(i) for i in range(prompts)]
    state = history(dict.fromkeys(keys, accuracy))
    method = CEEH()
    assert method.hard_prompts(keys, {}, state["accuracy"]) == set()
    current = CEEH(difficulty="current").hard_prompts(keys, dict.fromkeys(keys, accuracy), state["accuracy"])
    assert current == set(keys)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_hard_prompts_are_never_all_and_hold_the_worst(values):
    keys = [str(i) for i in range(len(values))]
    hard = CEEH().hard_prompts(keys, {}, dict(zip(keys, values, strict=True)))
    assert len(hard) < len(keys)
    worst, best = min(values), max(values)
    if best - worst > 1e-9:
        assert hard
        assert {key for key, value in zip(keys, values, strict=True) if value == worst} <= hard


# -- what is remembered -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "after"), [(1.0, 0.6), (0.0, 0.475), (0.5, 0.5)])
def test_the_asymmetric_average_by_hand(now, after):
    """From 0.5: a fifth of the way up, a twentieth of the way down."""
    answers = [Answer("x", 1 if i < 2 * now else 0) for i in range(2)]
    assert CEEH().remember(table(*answers), history({"x": 0.5})).state["accuracy"]["x"] == pytest.approx(after)


@pytest.mark.parametrize(
    ("reference", "lengths", "after"),
    [("minimum", (80, 90), 80), ("minimum", (120, 140), 100), ("average", (80, 90), 96), ("average", (120, 140), 101)],
)
def test_the_reference_length_by_hand(reference, lengths, after):
    """From 100 and a shortest of 80: the minimum is 80, the average 100 - 0.2 x 20; of 120: 100 + 0.05 x 20."""
    rows = table(*[Answer("x", 1, n) for n in lengths], Answer("x", 0, 3))
    state = CEEH(reference=reference).remember(rows, history({"x": 0.5}, {"x": 100})).state
    assert state["length"] == {"x": pytest.approx(after)}


@pytest.mark.parametrize("reference", ["minimum", "average"])
def test_a_first_visit_sets_both(reference):
    rows = table(Answer("x", 1, 30), Answer("x", 1, 20), Answer("x", 0, 5), Answer("y", 0, 7))
    memory = CEEH(reference=reference).remember(rows, history())
    assert memory.state == history({"x": 2 / 3, "y": 0.0}, {"x": 20})
    assert memory.metrics == {
        "ceeh/prompts": 2,
        "ceeh/accuracy": pytest.approx(1 / 3),
        "ceeh/reference": 20,
    }


def test_the_reference_is_updated_behind_a_closed_gate():
    rows = table(Answer("x", 1, 30), Answer("x", 0, 5))
    assert CEEH().remember(rows, history({"x": 0.9}, {"x": 40})).state["length"] == {"x": 30}


@given(lengths=st.lists(st.integers(1, 10**5), min_size=1, max_size=12))
def test_the_minimum_never_recovers_from_one_short_answer_and_the_average_does(lengths):
    """Fed 100 once it has seen an accidental 1, the average comes back; both stay within what was seen."""
    for reference in ("minimum", "average"):
        method, state = CEEH(reference=reference), history()
        for i, length in enumerate(lengths):
            state = method.remember(table(Answer("x", 1, length)), state).state
            seen = lengths[: i + 1]
            assert min(seen) <= state["length"]["x"] <= max(seen)
        state = method.remember(table(Answer("x", 1, 1)), state).state
        for _ in range(200):
            state = method.remember(table(Answer("x", 1, 100)), state).state
        assert (abs(state["length"]["x"] - 100) < 10) is (reference == "average")


@given(accuracies=st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_a_history_stays_within_the_accuracies_it_follows(accuracies):
    state = history()
    for i, right in enumerate(accuracies):
        state = CEEH().remember(table(*[Answer("x", float(j < right)) for j in range(4)]), state).state
        seen = [a / 4 for a in accuracies[: i + 1]]
        assert min(seen) <= state["accuracy"]["x"] <= max(seen)


def test_prompts_that_were_not_asked_are_kept():
    state = history({"old": 0.3}, {"old": 12})
    after = CEEH().remember(table(Answer("x", 1, 5)), state).state
    assert after == history({"old": 0.3, "x": 1.0}, {"old": 12, "x": 5})
    assert state == history({"old": 0.3}, {"old": 12})


def test_a_history_of_another_data_set_is_rejected():
    method, state = CEEH(), history({"gsm-1": 0.5, "gsm-2": 0.5})
    method.check_state(state, ["gsm-2", "new-1"])
    method.check_state(method.initial_state(), ["new-1"])
    with pytest.raises(ValueError, match=r"2 prompts, such as 'gsm-1'.*none.*data set's 1; resume on the data set"):
        method.check_state(state, ["new-1"])


# -- composition and impossible values --------------------------------------------------------------------------------


def test_it_composes_with_rlad():
    recipe = rlad("a teacher") | CEEH()
    assert recipe.owner("credit").name == "ceeh"
    assert recipe.owner("anchor").name == "rlad"
    assert recipe.settings == replace(CEEH().settings, dual_clip=0.0)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"mode": "ea"}, "mode='ea' is unknown; use one of 'EA', 'ME', 'none'"),
        ({"anneal": "printed"}, "anneal='printed' is unknown; use one of 'cosine', 'constant'"),
        ({"difficulty": "old"}, "difficulty='old'.*'history', 'current'"),
        ({"gate": ">"}, "gate='>'.*'above', 'reached'"),
        ({"reference": "ema"}, "reference='ema'.*'minimum', 'average'"),
        ({"beta": -0.1}, "beta=-0.1 must be finite and not negative"),
        ({"alpha": math.inf}, "alpha=inf must be finite"),
        ({"entropy_weight": math.nan}, "entropy_weight=nan must be finite"),
        ({"hard_weight": -1.0}, "hard_weight=-1.0 must be finite and not negative"),
        ({"rise": 0.0}, r"rise=0.0 must lie in \(0, 1\]"),
        ({"fall": 1.5}, r"fall=1.5 must lie in \(0, 1\]"),
        ({"floor": 1.0}, r"floor=1.0 must lie in \[0, 1\)"),
        ({"kappa": 1.0}, "kappa=1.0 must be above 1"),
        ({"mode": "none", "everywhere": True}, "everywhere=True does nothing with mode='none'"),
        ({"clip_low": 2.0}, "clip_low=2.0"),
        ({"kl_beta": -1.0}, "kl_beta=-1.0"),
    ],
    ids=str,
)
def test_an_invalid_value_is_named_with_what_to_do(settings, advice):
    with pytest.raises(ValueError, match=advice):
        CEEH(**settings)
