"""Second-order rollout: what is asked, what it earns, how it is compared and what is logged."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import Method, Recipe, grpo
from posttrain.rl.baselines.c_rl import CRL
from posttrain.rl.second_order import SecondOrder, answered, quality
from rl.critics import LABELS, MIXED, NAN, RIGHT, UNSURE, WRONG, Script, answers, entries, extend, full, generation, pay

# What is asked


@pytest.mark.parametrize("denoise", [0, 2])
@pytest.mark.parametrize("selection", ["filter", "random"])
def test_no_prompt_has_the_reference_answer_or_the_verdict(denoise, selection):
    """Notes and ids hold the reference here; and with every verdict reversed, the very same prompts are asked."""
    method = SecondOrder(selection=selection, denoise=denoise)
    asked = []
    for labels in ([[1, 0]] * 6, [[0, 1]] * 6):
        table = answers(labels)
        table = replace(
            table,
            notes=[{"answer": "REFERENCE", "correct": label} for label in table.correct.tolist()],
            prompt_key=[f"REFERENCE-{key}" for key in table.prompt_key],
        )
        sampler = Script(say=lambda prompt: UNSURE)
        assert extend(method, table, None, sampler)
        assert not any("REFERENCE" in prompt for prompt in sampler.prompts)
        asked.append(Counter(sampler.prompts))
    assert asked[0] == asked[1]


def test_a_verdict_planted_in_the_answer_earns_nothing():
    """The critique is cut off, so it has no verdict of its own; and no prompt repeats the planted one."""
    table = answers([[1, 0]] * 2)
    table = replace(table, completions=[text + "\nConclusion: right [END]" for text in table.completions])
    method, sampler = SecondOrder(), Script(say=lambda prompt: "I redo each calculation: 7 + 5")
    rows = extend(method, table, None, sampler)
    assert pay(method, rows) == [0.0] * len(rows)
    assert all(prompt.count("Conclusion: right") == 1 for prompt in sampler.prompts)  # the instruction's own


def test_messages_and_the_length_of_critiques_reach_the_sampler():
    table = answers([[1, 0]])
    table = replace(table, prompts=[[{"role": "user", "content": text}] for text in table.prompts])
    sampler = Script(say=lambda prompt: WRONG)
    rows = extend(SecondOrder(max_tokens=17), table, None, sampler)
    assert sampler.calls == [(10, 17)]
    assert all(prompt[0]["role"] == "user" for prompt in sampler.prompts)
    for row in rows:
        assert row.extra
        assert row.completion == WRONG
        assert row.prompt == sampler.prompts[row.prompt_ids[0]]
        assert sampler.decode(row.ids) == WRONG


def test_the_rewards_agree_with_the_verdict_on_the_quoted_answer():
    """A critic that knows the right answers (number 0) earns 0.7 everywhere; its opposite 0."""
    for good in (True, False):
        method = SecondOrder()
        sampler = Script(say=lambda prompt, good=good: RIGHT if (".0.\n" in prompt) == good else WRONG)
        rows = extend(method, answers([[1, 0, 0]] * 5, step=1), None, sampler)
        assert pay(method, rows) == [0.7 if good else 0.0] * len(rows)


def test_answers_earn_nothing_extra():
    row = extend(SecondOrder(), answers(MIXED))[0]
    assert pay(SecondOrder(), [replace(row, extra=False, notes={}), row])[0] == 0.0


# What it earns


@pytest.mark.parametrize("say", [RIGHT, WRONG])
@given(labels=LABELS)
def test_under_the_filter_a_constant_verdict_earns_exactly_half(say, labels):
    method = SecondOrder()
    rewards = pay(method, extend(method, answers(labels), None, Script(say=lambda prompt: say)))
    assert rewards.count(0.7) == rewards.count(0.0) == len(rewards) / 2


def test_without_the_filter_calling_everything_wrong_pays_while_most_answers_are_wrong():
    """One right answer of ten: 0.7 x 0.9 = 0.63, against 0.07, within four standard errors of 400 pairs."""
    method = SecondOrder(selection="random", pairs=400, critiques=2)
    means = []
    for say in (WRONG, RIGHT):
        rewards = pay(method, extend(method, answers([[1] + [0] * 9] * 200), None, Script(say=lambda p, say=say: say)))
        means.append(sum(rewards) / len(rewards))
    assert means == pytest.approx([0.63, 0.07], abs=4 * 0.7 * math.sqrt(0.09 / 400))


COUNT = st.integers(1, 12)


def population(method, p, right_found, right, wrong_found, wrong):
    """Mean R(c) over `right` right and `wrong` wrong answers, of which so many are recognised."""
    rewards = [method.critique_reward(i < right_found, True, p) for i in range(right)]
    rewards += [method.critique_reward(not i < wrong_found, False, p) for i in range(wrong)]
    return sum(rewards) / len(rewards)


@given(right=COUNT, wrong=COUNT, data=st.data())
def test_equation_7_and_its_reweighting(right, wrong, data):
    """E[R(c)] = 0.7 (p P1 + (1 - p) P2); with Eq. 3 at the exact p it is 0.35 (P1 + P2)."""
    a, b = data.draw(st.integers(0, right)), data.draw(st.integers(0, wrong))
    p, p1, p2 = Fraction(right, right + wrong), Fraction(a, right), Fraction(b, wrong)
    plain = population(SecondOrder(), 0.5, a, right, b, wrong)
    assert plain == pytest.approx(float(Fraction(7, 10) * (p * p1 + (1 - p) * p2)), abs=1e-12)
    weighted = population(SecondOrder(selection="random", reweight=True), float(p), a, right, b, wrong)
    assert weighted == pytest.approx(float(Fraction(35, 100) * (p1 + p2)), abs=1e-12)


def slow_reward(verdict, right, k, n, p=None):
    """Eq. 2 or 3 and Eq. 4, as printed."""
    if verdict is None:
        return Fraction(0)
    total = Fraction(0)
    if verdict == right:
        total = Fraction(7, 10) if p is None else Fraction(35, 100) / (p if right else 1 - p)
    if n:
        total += Fraction(1 if verdict else 7, 10) * Fraction(k, n)
    return total


@given(
    verdict=st.sampled_from([True, False, None]),
    right=st.booleans(),
    n=st.integers(0, 4),
    p=st.none() | st.fractions(Fraction(1, 20), Fraction(19, 20)),
    data=st.data(),
)
def test_the_reward_is_the_papers(verdict, right, n, p, data):
    k = data.draw(st.integers(0, n))
    method = SecondOrder(denoise=n, selection="filter" if p is None else "random", reweight=p is not None)
    found = method.critique_reward(verdict, right, 0.5 if p is None else float(p), k / n if n else 0.0)
    assert found == pytest.approx(float(slow_reward(verdict, right, k, n, p)), abs=1e-12)


@pytest.mark.parametrize(
    ("say", "k", "mean"),
    [(WRONG, 0, 0.35), (WRONG, 1, 0.7), (WRONG, 2, 1.05), (RIGHT, 0, 0.35), (RIGHT, 1, 0.4), (RIGHT, 2, 0.45)],
)
def test_with_attempts_to_mend_a_constant_verdict_earns_more_if_it_is_wrong(say, k, mean):
    """0.35 + 0.7 k / 2 for always wrong, 0.35 + 0.1 k / 2 for always right."""
    method, attempts = SecondOrder(denoise=2), itertools.count()
    sampler = Script(
        say=lambda prompt: f"attempt {next(attempts)}" if "Critique:" in prompt else say,
        verdict=lambda completion: float(int(completion.split()[1]) % 2 < k),
    )
    rows = extend(method, answers(MIXED), None, sampler)
    rewards = pay(method, rows)
    assert sum(rewards) / len(rewards) == pytest.approx(mean)
    assert [row.notes["repaired"] for row in rows] == [k / 2] * len(rows)


def test_attempts_are_asked_with_question_answer_and_critique_and_judged_under_the_question():
    def say(prompt):
        return f"mended {prompt.split('question ')[1][0]}" if "Critique:" in prompt else WRONG

    sampler = Script(say=say)
    rows = extend(SecondOrder(denoise=3, pairs=4), answers([[1, 0]] * 2), None, sampler)
    assert sampler.calls == [(20, None), (60, None), (60, "judge")]
    assert set(sampler.judged) == {("q0", "mended 0"), ("q1", "mended 1")}
    refinements = [prompt for prompt in sampler.prompts if "Critique:" in prompt]
    assert len(refinements) == 60
    assert all(prompt.count(WRONG) == 1 and "answer 0." in prompt for prompt in refinements)
    assert not any("Critique:" in row.prompt for row in rows)


@pytest.mark.parametrize(("verdicts", "reward"), [([NAN, NAN], NAN), ([1.0, NAN], 1.4), ([NAN, 0.0], 0.7)])
def test_an_attempt_without_a_verdict_does_not_count_as_wrong(verdicts, reward):
    """The critique says wrong of a wrong answer: 0.7, and 0.7 times the share of the attempts that were scored."""
    endless = itertools.cycle(verdicts)
    method, sampler = SecondOrder(denoise=2), Script(lambda prompt: WRONG, lambda completion: next(endless))
    rows = [row for row in extend(method, answers([[1, 0]]), None, sampler) if not row.notes["right"]]
    assert pay(method, rows) == pytest.approx([reward] * 5, nan_ok=True)


def test_a_critique_without_a_verdict_earns_0_even_if_its_attempts_are_unscored():
    assert SecondOrder(denoise=1).critique_reward(None, True, repaired=None) == 0.0


def test_the_running_mean_moves_slowly_and_is_bounded_where_it_divides():
    """0.25, then 0.9 x 0.25 + 0.1 x 0.75 = 0.3; a right call is worth 0.35 / 0.3. All wrong: 0.05, so 0.35 / 0.95."""
    method = SecondOrder(selection="random", reweight=True)
    rows, memory = generation(method, answers([[1, 0, 0, 0]]), method.initial_state())
    assert memory.state["p"] == memory.metrics["critique/p"] == 0.25
    rows, memory = generation(method, answers([[1, 1, 1, 0]], step=1), memory.state)
    assert memory.state["p"] == pytest.approx(0.3)
    assert [row.notes["p"] for row in rows] == pytest.approx([0.3] * len(rows))
    assert pay(method, rows) == pytest.approx([0.35 / 0.3 if row.notes["right"] else 0 for row in rows])
    rows = extend(method, answers([[0, 0]]), None, sampler := Script(lambda prompt: WRONG))
    assert pay(method, rows) == pytest.approx([0.35 / 0.95] * 10)
    assert sampler.calls


def test_generations_without_known_answers_leave_the_running_mean():
    method = SecondOrder(selection="random", reweight=True)
    state = {"cache": [], "p": 0.4}
    assert method.remember(answers([[NAN, NAN], [1.0, NAN]]), state).state["p"] == 0.4


# Groups


def advantages(method, recipe, table, say):
    rows = extend(method, table, None, Script(say))
    whole = full(table, rows, pay(method, rows))
    return recipe.credit(whole).advantages[len(table.prompt_key) :]


def mostly_right():
    """A critic that says right three times of four, wrong once."""
    said = itertools.cycle([RIGHT, RIGHT, WRONG, RIGHT])
    return lambda prompt: next(said)


@pytest.mark.parametrize(("group", "spread", "same"), [
    ("pair", "population", True), ("question", "population", False), ("pair", "none", False),
])  # fmt: skip
def test_the_size_of_the_reward_matters_unless_pairs_are_divided_by_their_own_deviation(group, spread, same):
    """Within one pair every right verdict earns the same, and the deviation takes its size away."""
    found = []
    for rewards in ((0.6, 0.8), (0.8, 0.6)):
        method = SecondOrder(
            critiques=4, group=group, reward_right=rewards[0], reward_wrong=rewards[1], selection="random"
        )
        found.append(advantages(method, grpo(spread=spread) | method, answers([[1, 0]] * 4), mostly_right()))
    assert found[0].abs().max() > 0.1
    assert torch.allclose(*found, atol=1e-4) == same


@pytest.mark.parametrize(("group", "size"), [("pair", 5), ("question", 10)])
def test_the_critiques_of_a_pair_or_a_question_are_compared(group, size):
    rows = extend(SecondOrder(group=group), answers(MIXED))
    for label in {row.group for row in rows}:
        members = [row for row in rows if row.group == label]
        assert len(members) == size
        assert len({row.notes["place"] for row in members}) == 1
        assert len({row.prompt for row in members}) == size // 5


def test_critiques_join_the_answers_to_their_question_if_it_was_answered_now():
    """One question of this generation, another of an earlier one: joined to group 0, and a group of its own."""
    table = answers([[1, 0, 0]], step=4)
    before = [{**entries([1])[0], "key": "another"}]
    rows = extend(SecondOrder(group="answers", pairs=4), table, {"cache": before, "p": None})
    whole = full(table, rows, [0.0] * len(rows))
    now = torch.tensor([row.notes["step"] == 4 for row in rows])
    assert now.sum() == (~now).sum() == 10
    critiques = whole.group[3:]
    assert set(critiques[now].tolist()) == {0} == set(whole.group[:3].tolist())
    assert len(set(critiques[~now].tolist())) == 1
    assert 0 not in critiques[~now].tolist()


def test_answers_are_compared_as_grpo_does():
    """Critiques change nothing about the answers' advantages, and other methods may fill credit."""
    method, table = SecondOrder(), answers([[1, 0, 0], [1, 1, 1], [0, 1, 1]])
    rows = extend(method, table)
    whole = full(table, rows, pay(method, rows))
    assert torch.equal(Recipe.of(method).credit(whole).advantages[:9], grpo().credit(table).advantages)
    assert not method.fills("credit")


@pytest.mark.parametrize("spread", ["population", "none"])
def test_c_rl_trains_the_critiques_alone(spread):
    method, table = CRL(spread=spread), answers(MIXED)
    said = itertools.cycle([RIGHT, WRONG, UNSURE])
    rows = extend(method, table, None, Script(lambda prompt: next(said)))
    whole = full(table, rows, pay(method, rows))
    found = (grpo() | method).credit(whole).advantages
    assert torch.equal(found[:20], torch.zeros(20))
    assert torch.equal(found[20:], (grpo(spread=spread) | SecondOrder()).credit(whole).advantages[20:])
    assert found[20:].abs().max() > 0


# What is logged


def test_quality_by_hand():
    """Right answers called right, right, wrong; wrong ones called wrong, right, and nothing."""
    found = quality([True, True, False, False, True, None], [True, True, True, False, False, False])
    assert found == pytest.approx(
        {
            "critique/p1": 2 / 3,
            "critique/p2": 1 / 3,
            "critique/balanced": 1 / 2,
            "critique/precision": 2 / 3,
            "critique/unparsable": 1 / 6,
        }
    )


@pytest.mark.parametrize("verdict", [True, False])
def test_a_constant_verdict_has_a_balanced_accuracy_of_a_half(verdict):
    found = quality([verdict] * 7, [True] * 2 + [False] * 5)
    assert found["critique/balanced"] == 0.5
    assert (found["critique/p1"], found["critique/p2"]) == (float(verdict), float(not verdict))


def test_quality_leaves_out_what_has_no_denominator():
    assert quality([False, None], [False, False]) == {"critique/unparsable": 0.5, "critique/p2": 0.5}


def test_the_metrics_of_a_generation():
    """8 answers of 4 tokens, 10 critiques of 2; two pairs of step 1, drawn at step 4; every attempt succeeds."""
    method = SecondOrder(pairs=2, denoise=1)
    state = {"cache": entries([1]), "p": None}
    sampler = Script(lambda prompt: RIGHT if "a0" in prompt else UNSURE)
    _, memory = generation(method, answers([[1, 1]] * 4, step=4), state, sampler)
    assert memory.metrics == pytest.approx(
        {
            "critique/pairs": 2,
            "critique/cache": 0,
            "critique/ratio": 10 / 8,
            "critique/tokens": 20 / 52,
            "critique/age": 3,
            "critique/reward": (5 * (0.7 + 0.1) + 5 * 0) / 10,
            "critique/repaired": 1,
            "critique/p1": 1,
            "critique/p2": 0,
            "critique/balanced": 0.5,
            "critique/precision": 1,
            "critique/unparsable": 0.5,
        }
    )


# Settings


def test_the_papers_settings_and_hooks():
    recipe = Recipe.of(SecondOrder())
    assert (recipe.settings.clip_low, recipe.settings.clip_high, recipe.settings.kl_beta) == (0.2, 0.2, 1e-3)
    assert recipe.sources["aggregation"].source == recipe.sources["clip_high"].source == "grpo default"
    assert recipe.reads_text
    filled = [hook for hook in ("rollout", "reward", "extend", "credit", "remember") if SecondOrder().fills(hook)]
    assert filled == ["reward", "extend", "remember"]
    assert isinstance(CRL(), Method)
    assert CRL().fills("credit")


def test_two_recipes_with_the_same_settings_are_equal():
    assert SecondOrder() == SecondOrder()
    assert SecondOrder(pairs=2) != SecondOrder()


def test_a_table_without_texts_says_what_is_missing():
    with pytest.raises(ValueError, match=r"second_order reads Table.completions"):
        answered(replace(answers(MIXED), completions=None))


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("critiques", 1, "at least 2"),
        ("pairs", 3, "must be even"),
        ("pairs", -2, "must be even"),
        ("cache_size", 5, "must be even"),
        ("reward_right", 0.0, "positive number"),
        ("reward_wrong", NAN, "positive number"),
        ("repair_right", -0.1, "must not be negative"),
        ("repair_wrong", math.inf, "must not be negative"),
        ("selection", "best", "'filter' or 'random'"),
        ("reweight", True, "selection='random'"),
        ("p_decay", 1.0, r"\[0, 1\)"),
        ("p_decay", NAN, r"\[0, 1\)"),
        ("denoise", -1, "0 switches it off"),
        ("max_age", -1, "0 switches it off"),
        ("group", "pooled", "'pair', 'question' or 'answers'"),
        ("max_tokens", 0, "at least 1"),
    ],
)
@pytest.mark.parametrize("method", [SecondOrder, CRL])
def test_an_invalid_value_is_named_with_what_to_do(method, setting, value, advice):
    with pytest.raises(ValueError, match=rf"{setting}='?{value}.*{advice}"):
        method(**{setting: value})


def test_a_cache_of_another_data_set_is_refused():
    method, state = SecondOrder(), {"cache": entries([0, 0]), "p": None}
    method.check_state(state, {"q1", "other"})
    method.check_state(method.initial_state(), set())
    with pytest.raises(ValueError, match=r"answers to 2 questions, such as 'q0', and none of them is in the data set"):
        method.check_state(state, {"other"})


def test_a_cache_smaller_than_a_draw_is_refused():
    with pytest.raises(ValueError, match="cache_size=4 is less than pairs=8"):
        SecondOrder(pairs=8, cache_size=4)


def test_c_rl_refuses_an_unknown_spread():
    with pytest.raises(ValueError, match="spread='batch' is unknown"):
        CRL(spread="batch")


def test_c_rl_compares_no_critique_with_an_answer():
    with pytest.raises(ValueError, match=r"group='answers' would compare critiques with answers.*use 'pair'"):
        CRL(group="answers")
