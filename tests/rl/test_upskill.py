"""UpSkill: identities of its reward, exact enumeration, balance of the skills, and the limit in which it is GRPO."""

import asyncio
import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import Credit, Method, Recipe, RecipeClash, Row, Sampled, Table, Task, grpo, rlad
from posttrain.rl.upskill import UpSkill, skill_information, token_information, with_skill
from rl.cases import TEACHER

FORMS = ("token", "sequence")
SEEDS = st.integers(0, 999)
NUMBERS = st.integers(1, 7)
WORDS = ["Strategy", "1", "2", "3", "4", "5", "|", "what", "is", "x", "?"]


def scored(seed, number, rows=4, tokens=6, scale=2.0, dtype=torch.float64):
    """Random log-probabilities (B, N, T), skills (B,) and a mask (B, T) of random lengths."""
    generator = torch.Generator().manual_seed(seed)
    logp = -scale * torch.rand(rows, number, tokens, generator=generator, dtype=torch.float64)
    skill = torch.randint(1, number + 1, (rows,), generator=generator)
    length = torch.randint(1, tokens + 1, (rows, 1), generator=generator)
    return logp.to(dtype), skill, (torch.arange(tokens) < length).to(dtype)


class Words:
    """A sampler whose tokens are words; every completion is `what is`."""

    rank, ranks = 0, 1

    async def __call__(self, prompt_ids, *, max_tokens=None, temperature=None):
        return [Sampled([7, 8], [-1.0, -1.0], "stop") for _ in prompt_ids]

    def encode(self, prompt):
        text = prompt if isinstance(prompt, str) else " ".join(message["content"] for message in prompt)
        return [WORDS.index(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(WORDS[i] for i in ids)


def tasks(groups, size, first=0):
    return [
        Task("what is x ?", g, first + g * size + i, {"id": str(g)})
        for g in range(groups)
        for i in range(size)
    ]  # fmt: skip


def rolled(recipe, asked):
    return asyncio.run(Recipe.of(recipe).owner("rollout").rollout(asked, Words(), None))


def row(logp, skill, **fields):
    """A row scored under N skills; logp is (N, T)."""
    logp = torch.as_tensor(logp, dtype=torch.float64)
    ids = [7] * logp.shape[1]
    return Row([0], ids, 0, prompt="x", skill=skill, scores={"skills": logp}, **fields)


def reward(method, *rows):
    return asyncio.run(method.reward(rows))


def table(skill, group, **fields):
    rewards = torch.arange(len(skill), dtype=torch.float64)
    keys, length = [str(g) for g in group], torch.full((len(skill),), 2)
    return Table(rewards, torch.tensor(group), rewards.clamp(max=1), keys, length, skill=torch.tensor(skill), **fields)


# -- the reward ---------------------------------------------------------------------------------------------------


@given(seed=SEEDS, number=NUMBERS)
def test_over_the_skills_the_exponential_of_the_sequence_form_is_one_on_average(seed, number):
    """(1/N) sum_z p_z / ((1/N) sum_z' p_z') = 1, for any log-probabilities."""
    logp, _, mask = scored(seed, number)
    found = [skill_information(logp, torch.full((4,), z), mask, "sequence").exp() for z in range(1, number + 1)]
    torch.testing.assert_close(sum(found) / number, torch.ones(4).double())


@given(seed=SEEDS, number=NUMBERS)
def test_over_the_skills_the_exponential_at_a_token_is_one_on_average(seed, number):
    logp, _, mask = scored(seed, number)
    found = [token_information(logp, torch.full((4,), z), mask).exp() for z in range(1, number + 1)]
    torch.testing.assert_close(sum(found) / number, torch.ones(4, 6).double())


@given(seed=SEEDS, number=NUMBERS, scale=st.floats(0, 200))
def test_no_sequence_says_more_than_log_n_and_no_token_either(seed, number, scale):
    logp, skill, mask = scored(seed, number, scale=scale)
    assert (skill_information(logp, skill, mask, "sequence") <= math.log(number) + 1e-12).all()
    assert (token_information(logp, skill, mask) <= math.log(number) + 1e-12).all()


def test_by_hand():
    """Two skills, p = 0.9 and 0.3, then 0.5 and 0.25. Token: 0.9 / 0.6 x 0.5 / 0.375 = 2. Sequence: 0.45 / 0.2625."""
    logp = torch.tensor([[0.9, 0.5], [0.3, 0.25]]).double().log()
    found = [skill_information(logp, torch.tensor(1), torch.ones(2), form).exp().item() for form in FORMS]
    assert found == pytest.approx([2.0, 0.45 / 0.2625])


def test_three_tokens_that_each_give_the_skill_away_count_thrice_in_the_token_form():
    """Likely under one of five skills alone: 3 log 5 against log 5, the whole information there is."""
    logp = torch.full((5, 3), -80.0)
    logp[1] = 0.0
    found = [skill_information(logp, torch.tensor(2), torch.ones(3), form).item() for form in FORMS]
    assert found == pytest.approx([3 * math.log(5), math.log(5)])


def enumerated(seed, scale, number=5, tokens=3, vocabulary=4):
    """All 64 completions of N random autoregressive models: log-probabilities (64, N, T)."""
    generator = torch.Generator().manual_seed(seed)
    steps = [
        (scale * torch.randn(number, *[vocabulary] * (t + 1), generator=generator).double()).log_softmax(-1)
        for t in range(tokens)
    ]
    completions = list(product(range(vocabulary), repeat=tokens))
    return torch.stack(
        [torch.stack([steps[t][(slice(None), *y[: t + 1])] for t in range(tokens)], -1) for y in completions]
    )


def expectations(logp):
    """E[r] of both forms, and I(tau; z) = H(z) - H(z | tau) from the posterior, all by enumeration."""
    probability = logp.sum(-1).exp() / logp.shape[1]  # (64, N) joint
    mask, each = torch.ones(len(logp), logp.shape[2]), range(1, logp.shape[1] + 1)
    forms = [
        torch.stack([skill_information(logp, torch.full((len(logp),), z), mask, form) for z in each], 1)
        for form in FORMS
    ]
    posterior = probability / probability.sum(1, keepdim=True)
    information = math.log(logp.shape[1]) + (probability * posterior.log()).sum()
    return *((probability * values).sum().item() for values in forms), information.item()


@given(seed=SEEDS, scale=st.floats(0.1, 4.0))
def test_the_sequence_form_is_the_mutual_information_and_the_token_form_at_least_it(seed, scale):
    token, sequence, information = expectations(enumerated(seed, scale))
    assert sequence == pytest.approx(information, abs=1e-9)
    assert sequence <= math.log(5)
    assert token >= information - 1e-9


def test_the_token_form_can_exceed_log_n_on_average():
    token, sequence, _ = expectations(enumerated(0, scale=3.0))
    assert sequence < math.log(5) < token


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@given(seed=SEEDS, number=NUMBERS)
def test_a_model_that_ignores_the_skill_gets_exactly_nothing(form, dtype, seed, number):
    logp, skill, mask = scored(seed, number, dtype=dtype)
    found = skill_information(logp[:, :1].expand_as(logp), skill, mask, form)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (found == 0).all()


@pytest.mark.parametrize("form", FORMS)
@given(seed=SEEDS, number=NUMBERS)
def test_the_names_of_the_skills_do_not_matter(form, seed, number):
    logp, skill, mask = scored(seed, number)
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    renamed = torch.argsort(order)[skill - 1] + 1
    torch.testing.assert_close(
        skill_information(logp[:, order], renamed, mask, form), skill_information(logp, skill, mask, form)
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [0.0, -1e4, -math.inf, math.nan])
@given(seed=SEEDS)
def test_tokens_under_a_zero_mask_do_not_matter(form, value, seed):
    logp, skill, mask = scored(seed, 5)
    other = torch.where(mask.bool().unsqueeze(1), logp, value)
    assert torch.equal(skill_information(other, skill, mask, form), skill_information(logp, skill, mask, form))
    assert torch.equal(token_information(other, skill, mask)[mask == 0], torch.zeros(int((mask == 0).sum())).double())


@pytest.mark.parametrize("form", FORMS)
@given(seed=SEEDS)
def test_one_row_is_a_batch_of_one(form, seed):
    logp, skill, mask = scored(seed, 5)
    alone = torch.stack([skill_information(*one, form) for one in zip(logp, skill, mask, strict=True)])
    torch.testing.assert_close(alone, skill_information(logp, skill, mask, form))


@given(seed=SEEDS)
def test_float32_holds_for_2000_tokens_of_log_probability_minus_300(seed):
    """exp(-300) is 0 in float32; differences of log-probabilities keep five digits."""
    wide, skill, _ = scored(seed, 5, tokens=2000, scale=0.3)
    mask = torch.ones(4, 2000)
    assert (wide.sum(-1) < -200).all()
    for form in FORMS:
        found = skill_information(wide.float(), skill, mask, form)
        torch.testing.assert_close(found.double(), skill_information(wide, skill, mask, form), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("skill", [0, 6])
def test_a_skill_out_of_range_is_said(skill):
    with pytest.raises(ValueError, match=r"outside 1 to 5.*from 1"):
        skill_information(torch.zeros(1, 5, 2), torch.tensor([skill]), torch.ones(1, 2))


def test_the_cap_bounds_the_information_before_the_weight():
    """By hand: log 2 nats under skill 1, log(1/3) = log(0.3 x 0.25 / (0.6 x 0.375)) under skill 2."""
    logp = torch.tensor([[0.9, 0.5], [0.3, 0.25]]).double().log()
    rows = [row(logp, 1), row(logp, 2)]
    assert reward(UpSkill(skills=2, weight=5, cap=9.0), *rows) == pytest.approx([5 * math.log(2), -5 * math.log(3)])
    assert reward(UpSkill(skills=2, weight=5, cap=0.5), *rows) == [2.5, -2.5]
    assert reward(UpSkill(skills=2, weight=5, cap=1.0), *rows) == pytest.approx([5 * math.log(2), -5.0])
    assert reward(UpSkill(skills=2, weight=0, cap=1.0), *rows) == [0, 0]


def test_the_form_chooses_the_reward():
    logp = torch.tensor([[0.9, 0.5], [0.3, 0.25]]).double().log()
    found = [reward(UpSkill(skills=2, weight=1, form=form), row(logp, 1))[0] for form in FORMS]
    assert found == pytest.approx([math.log(2), math.log(0.45 / 0.2625)])


@pytest.mark.parametrize("form", FORMS)
@given(seed=SEEDS)
def test_by_default_a_wrong_answer_never_beats_a_right_one_that_says_nothing_of_its_strategy(form, seed):
    """Rewards of 0 and 1: a wrong answer of any strategy stays at most at 1, and a right one at least at 0."""
    logp, skill, _ = scored(seed, 5, tokens=40, scale=9.0)
    terms = reward(UpSkill(form=form), *(row(*one) for one in zip(logp, skill, strict=True)))
    silent = 1 + reward(UpSkill(form=form), row(torch.full((5, 2), -1.0), 3))[0]
    assert silent == 1
    assert all(0 + term <= silent and 1 + term >= 0 for term in terms)


def test_a_strategy_that_stands_out_reaches_the_bound_of_the_default():
    """40 tokens, 9 nats likelier under the own strategy, and the other way round: 2 nats after the cap, 1 after 0.5."""
    own, other = torch.full((5, 40), -9.0), torch.zeros(5, 40)
    own[2], other[2] = 0.0, -9.0
    assert reward(UpSkill(), row(own, 3), row(other, 3)) == [1.0, -1.0]


def test_rows_of_other_methods_and_rows_without_a_skill_get_nothing():
    logp = [[0.0, 0.0], [-3.0, -3.0]]
    assert reward(UpSkill(skills=2), row(logp, 1, extra=True), row(logp, 0), Row([0], [7], 0)) == [0, 0, 0]
    assert reward(UpSkill(skills=2), row(logp, 1))[0] > 0


def test_an_engine_that_gives_no_scores_is_told():
    with pytest.raises(ValueError, match=r"score 'skills'.*set Row\.scores"):
        reward(UpSkill(), replace(row(torch.zeros(5, 2), 1), scores={}))


# -- the skills of a rollout --------------------------------------------------------------------------------------


@given(number=st.integers(2, 5), times=st.integers(1, 3), groups=st.integers(1, 4), ranks=st.sampled_from([1, 2, 3, 5]))
def test_every_group_holds_every_skill_equally_often_over_any_ranks(number, times, groups, ranks):
    method, asked = UpSkill(skills=number), tasks(groups, number * times)
    share = -(-len(asked) // ranks)
    rows = [r for rank in range(ranks) for r in rolled(method, asked[rank * share : (rank + 1) * share])]
    held = Counter((r.group, r.skill) for r in rows)
    assert held == {(g, z): times for g in range(groups) for z in range(1, number + 1)}


def test_a_row_is_sampled_under_its_skill_and_scored_under_all():
    rows = rolled(UpSkill(), tasks(1, 5))
    assert Words().decode(rows[2].prompt_ids) == "Strategy 3 | what is x ?"
    assert [r.skill for r in rows] == [1, 2, 3, 4, 5]
    assert all(r.prompt == "what is x ?" and r.completion == "what is" and r.task["id"] == "0" for r in rows)


@given(seed=st.integers(0, 99))
def test_the_prompt_a_row_was_sampled_under_is_among_those_it_is_scored_under(seed):
    chat = [{"role": "system", "content": "x"}, {"role": "user", "content": "what is x ?"}]
    (score,) = Recipe.of(UpSkill()).scores()
    for prompt in ("what is x ?", chat):
        (made,) = rolled(UpSkill(), [Task(prompt, 0, seed)])
        prompts = score.prompts_of_row(made)
        assert len(prompts) == 5
        assert Words().encode(prompts[made.skill - 1]) == made.prompt_ids


def test_a_row_without_a_skill_is_scored_under_its_own_prompt():
    assert UpSkill(skills=3).prompts_of_row(Row([4, 2], [7], 0)) == [[4, 2]] * 3


def test_messages_name_the_skill_in_the_last_user_message_and_stay_as_they_were():
    chat = [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "{c}"},
        {"role": "assistant", "content": "d"},
    ]  # fmt: skip
    before = json.dumps(chat)
    asked = with_skill(chat, 2)
    assert [message["content"] for message in asked] == ["a", "b", "Strategy 2 | {c}", "d"]
    assert json.dumps(chat) == before


@pytest.mark.parametrize(
    ("prompt", "advice"),
    [
        ([{"role": "system", "content": "x"}], "last user message.*none"),
        ([{"role": "user", "content": [{"type": "image"}]}], "plain text"),
        ([3, 4, 5], "token ids; give text or messages"),
    ],
)
def test_a_prompt_that_cannot_name_a_skill_is_said(prompt, advice):
    with pytest.raises(ValueError, match=advice):
        with_skill(prompt, 1)


@pytest.mark.parametrize(("group", "fits"), [("question", [5, 10, 15]), ("skill", [10, 15])])
def test_a_group_size_that_cannot_be_shared_out_is_rejected(group, fits):
    for size in range(2, 17):
        if size in fits:
            UpSkill(group=group).check_group_size(size)
        else:
            with pytest.raises(
                ValueError, match=rf"group_size={size} .*multiple of 5, such as {max(fits[0], -(-size // 5) * 5)},"
            ):
                UpSkill(group=group).check_group_size(size)


def test_one_skill_fits_any_group():
    for size in range(2, 9):
        UpSkill(skills=1).check_group_size(size)


# -- credit and memory --------------------------------------------------------------------------------------------


def test_by_skill_a_completion_is_compared_with_those_of_its_own_skill():
    """Rewards 0 to 7 in two groups of two skills: each is half its skill's distance from the mean, undivided."""
    rows = table([1, 2, 1, 2, 1, 2, 1, 2], [0, 0, 0, 0, 1, 1, 1, 1])
    advantages = Recipe.of(UpSkill(skills=2, group="skill")).credit(rows).advantages
    assert advantages.tolist() == [-1, -1, 1, 1, -1, -1, 1, 1]


def test_by_question_credit_is_the_base_recipes():
    rows = table([1, 2, 1, 2], [0, 0, 0, 0])
    base = grpo(spread="none")
    assert torch.equal((base | UpSkill()).credit(rows).advantages, base.credit(rows).advantages)


@dataclass(frozen=True)
class Crediting(Method):
    name = "crediting"

    def credit(self, table, state):
        return Credit(torch.zeros_like(table.rewards))


def test_by_question_it_leaves_credit_and_anchor_to_other_methods():
    assert (Crediting() | UpSkill()).owner("credit").name == "crediting"
    assert (rlad(TEACHER) | UpSkill()).owner("anchor").name == "rlad"
    with pytest.raises(RecipeClash, match="both define credit"):
        Crediting() | UpSkill(group="skill")


def test_the_kl_can_be_left_to_another_method():
    assert Recipe.of(UpSkill()).settings.kl_beta == 0.04
    assert (grpo(kl_beta=0.01) | UpSkill(kl_beta=None)).settings.kl_beta == 0.01


def test_rows_tell_their_information_unclipped():
    """Per row log 2 and log(1/3) nats by tokens; 2 tokens each; the second is beyond the cap of 1."""
    logp = torch.tensor([[0.9, 0.5], [0.3, 0.25]]).double().log()
    rows = [row(logp, 1), Row([0], [3], 1, extra=True), row(logp, 2)]
    found = Recipe.of(UpSkill(skills=2, cap=1.0)).diagnose_rows(rows)
    token = [math.log(2), -math.log(3)]
    assert found["skill/information_token"] == pytest.approx(token)
    assert found["skill/information_sequence"] == pytest.approx([math.log(0.45 / 0.2625), math.log(0.075 / 0.2625)])
    assert found["skill/information_per_token"] == pytest.approx([value / 2 for value in token])
    assert found["skill/clipped"] == [0.0, 1.0]


# -- the limit and bad values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["question", "skill"])
def test_one_skill_is_grpo(group):
    """The same rows, no score, no reward, the same credit and settings, and nothing that checks or measures."""
    recipe, base = Recipe.of(UpSkill(skills=1, group=group)), grpo(kl_beta=0.04)
    asked = tasks(2, 3)
    assert rolled(recipe, asked) == rolled(base, asked)
    assert recipe.scores() == []
    assert asyncio.run(recipe.reward(rolled(recipe, asked))) == [0.0] * 6
    rows = table([0] * 6, [0, 0, 0, 1, 1, 1])
    assert torch.equal(recipe.credit(rows).advantages, base.credit(rows).advantages)
    assert recipe.settings == base.settings
    hooks = ("rollout", "reward", "extend", "credit", "remember", "anchor", "shape", "penalty")
    assert [hook for hook in hooks if recipe.fills(hook)] == []


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("skills", 0, "at least 1.*paper uses 5"),
        ("form", "word", "'token' or 'sequence'"),
        ("group", "batch", "'question' or 'skill'"),
        ("weight", -0.5, "not be negative|not negative"),
        ("weight", math.nan, "finite"),
        ("cap", 0.0, "above 0 nats.*math.inf"),
        ("cap", math.nan, "above 0 nats"),
        ("kl_beta", -1.0, "must not be negative"),
        ("template", "Strategy | {question}", "{z} and {question}"),
        ("template", "Strategy {z}", "{z} and {question}"),
        ("template", "{z} {question} {name}", "{z} and {question}"),
        ("template", "{z} {question", "{z} and {question}"),
    ],
)
def test_an_invalid_value_is_named_with_what_to_do(setting, value, advice):
    with pytest.raises(ValueError, match=rf"{setting}=.*({advice})"):
        UpSkill(**{setting: value})


def test_an_unknown_form_of_the_information_is_said():
    with pytest.raises(ValueError, match="form='word' is unknown"):
        skill_information(torch.zeros(1, 5, 2), torch.tensor([1]), torch.ones(1, 2), "word")
