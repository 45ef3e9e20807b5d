"""The reference trainer on tabular policies."""

import asyncio
import math
import random
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import GRPO, Credit, Memory, Method, Recipe, Row, Score, grpo, kdrl, opd, rlad
from posttrain.rl.engines.loop import LoopSampler, TabularPolicy, train

PROMPTS, TOKENS, SYMBOLS = 12, 2, 4
TASKS = [{"prompt_ids": [i], "id": f"task {i}"} for i in range(PROMPTS)]


def answer(prompt: int) -> list[int]:
    return [prompt % SYMBOLS, (prompt + 1) % SYMBOLS]


def solved(row: Row) -> float:
    return float(row.ids == answer(row.prompt_ids[0]))


def policy(sharpness: float) -> TabularPolicy:
    """Logits `sharpness` on the right symbol and 0 elsewhere."""
    logits = torch.zeros(PROMPTS, TOKENS, SYMBOLS, dtype=torch.float64)
    for prompt in range(PROMPTS):
        for place, symbol in enumerate(answer(prompt)):
            logits[prompt, place, symbol] = sharpness
    return TabularPolicy(logits)


def success(policy: TabularPolicy) -> float:
    """Exact probability of the right answer, mean over prompts."""
    with torch.no_grad():
        logp = policy.score([Row([i], answer(i), i) for i in range(PROMPTS)])[0]
    return logp.sum(1).exp().mean().item()


def run(recipe: Recipe, student: TabularPolicy, reward=solved, *, steps=25, lr=0.1, tasks=TASKS, **kwargs):
    optimizer = torch.optim.Adam(student.parameters(), lr=lr)
    options = {"group_size": 8, "max_tokens": TOKENS} | kwargs
    return list(train(recipe, student, tasks, reward, steps=steps, optimizer=optimizer, **options))


RECIPES = {
    "grpo": lambda: grpo(),
    "rlad": lambda: rlad(policy(3.0)),
    "rlad_literal": lambda: rlad(policy(3.0), clamp_gradient="literal"),
    "kdrl": lambda: kdrl(policy(3.0), beta=0.2),
    "opd": lambda: opd(policy(3.0)),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_training_improves_success(name, inner_steps):
    """A student that solves 9 % learns; the teacher, where there is one, solves 76 %."""
    student = policy(0.2)
    before = success(student)
    history = run(RECIPES[name](), student, inner_steps=inner_steps)
    assert len(history) == 25
    assert success(student) > before + 0.2
    early, late = (sum(m["reward"] for m in part) for part in (history[:5], history[-5:]))
    assert late > early


def test_a_wrong_teacher_slows_rlad_down_and_does_not_change_grpo():
    """The teacher's veto is real: one that prefers wrong answers costs success."""
    good, wrong, plain = policy(0.2), policy(0.2), policy(0.2)
    run(rlad(policy(3.0)), good)
    run(rlad(policy(-3.0)), wrong)
    run(grpo(clip_high=0.28), plain)
    assert success(wrong) < success(plain)
    assert success(wrong) < success(good) - 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_seed_gives_the_same_run(name):
    one, two, other = policy(0.2), policy(0.2), policy(0.2)
    first, second = (run(RECIPES[name](), p, steps=4, seed=5) for p in (one, two))
    third = run(RECIPES[name](), other, steps=4, seed=600)
    assert first == second
    assert torch.equal(one.logits, two.logits)
    assert first != third
    assert not torch.equal(one.logits, other.logits)


def test_rlad_at_alpha_1_is_the_same_run_as_grpo():
    one, other = policy(0.2), policy(0.2)
    run(rlad(policy(3.0), alpha=1.0), one, inner_steps=2)
    run(grpo(clip_high=0.28), other, inner_steps=2)
    torch.testing.assert_close(one.logits, other.logits, atol=1e-9, rtol=0)


def test_equal_rewards_train_nothing():
    student = policy(0.2)
    before = student.logits.detach().clone()
    run(rlad(policy(3.0)), student, lambda row: 0.7, steps=3)
    assert torch.equal(student.logits, before)


@pytest.mark.parametrize("size", [1, 0])
def test_a_group_of_one_is_rejected(size):
    with pytest.raises(ValueError, match=f"group_size={size} leaves nothing to compare.*at least 2"):
        run(grpo(), policy(0.2), group_size=size)


@dataclass(frozen=True)
class Spy(Method):
    """Remembers every micro-batch and adds nothing to the loss."""

    name = "spy"
    paper = "a toy"
    seen: list = field(default_factory=list)

    def shape(self, live):
        self.seen.append(live)
        return live.advantages


@dataclass(frozen=True)
class Abstains(Method):
    """Gives no verdict on completions that begin with symbol 0."""

    name = "abstains"
    paper = "a toy"

    async def reward(self, rows):
        return [math.nan if row.ids[0] == 0 else 0.0 for row in rows]


def test_nan_from_one_method_makes_exactly_those_rows_unscored():
    spy, student = Spy(), policy(0.0)
    rewarded = []

    def reward(row):
        rewarded.append(row)
        return solved(row)

    run(grpo() | Abstains() | spy, student, reward, steps=1)
    (live,) = spy.seen
    unscored = torch.tensor([row.ids[0] == 0 for row in rewarded])
    assert 0 < unscored.sum() < len(unscored)
    assert torch.equal(live.columns["scored"] == 0, unscored)
    assert torch.equal(live.mask[unscored], torch.zeros_like(live.mask[unscored]))
    assert live.mask[~unscored].all()


def test_prompts_without_a_scored_completion_are_not_trained():
    """Even by a teacher term, which needs no reward."""
    student = policy(0.2)
    before = student.logits.detach().clone()
    run(kdrl(policy(3.0), beta=0.2), student, lambda row: math.nan if row.prompt_ids == [0] else solved(row), steps=3)
    assert torch.equal(student.logits[0], before[0])
    assert (student.logits[1:] != before[1:]).any(dim=(1, 2)).all()


def test_a_method_sees_optimiser_steps_not_generations():
    """Three generations of two optimiser steps each: 0, 1 | 2, 3 | 4, 5, of 6."""
    spy, tables = Spy(), []

    class Bookkeeper(GRPO):
        def credit(self, table, state):
            tables.append(table)
            return super().credit(table, state)

    run(Recipe(Bookkeeper()) | spy, policy(0.2), steps=3, inner_steps=2)
    assert [live.step for live in spy.seen] == [0, 1, 2, 3, 4, 5]
    assert [table.step for table in tables] == [0, 2, 4]
    assert {live.total_steps for live in spy.seen} == {table.total_steps for table in tables} == {6}


def test_state_is_carried_from_generation_to_generation():
    @dataclass(frozen=True)
    class Counts(Method):
        name = "counts"
        paper = "a toy"

        def initial_state(self):
            return 10

        def credit(self, table, state):
            return Credit(torch.zeros_like(table.rewards), metrics={"before": state})

        def remember(self, table, state):
            return Memory(state + 1, {"after": state + 1})

    history = run(grpo() | Counts(), policy(0.2), steps=3)
    assert [metrics["before"] for metrics in history] == [10, 11, 12]
    assert [metrics["after"] for metrics in history] == [11, 12, 13]


def test_the_sampling_policy_is_fixed_during_the_inner_steps():
    spy = Spy()
    run(grpo() | spy, policy(0.2), steps=2, inner_steps=2)
    first, second, third, _ = spy.seen
    assert torch.equal(first.logp.detach(), first.logp_old)
    assert torch.equal(first.logp_old, second.logp_old)
    assert not torch.equal(second.logp, second.logp_old)
    assert torch.equal(third.logp.detach(), third.logp_old)


def test_the_metrics_count_generations():
    history = run(rlad(policy(3.0)), policy(0.2), steps=3)
    assert [metrics["step"] for metrics in history] == [0, 1, 2]
    assert set(history[0]) == {
        "step",
        "reward",
        "unscored",
        "veto/positive",
        "veto/negative",
        "teacher/kl",
        "teacher/clamped",
    }
    assert all(0 <= metrics["reward"] <= 1 for metrics in history)


def test_the_table_says_what_is_correct_and_unscored():
    rewards = {0: 0.5, 1: -1.0, 2: math.nan}
    tables = []

    class Bookkeeper(GRPO):
        def credit(self, table, state):
            tables.append(table)
            return super().credit(table, state)

    named = [TASKS[0], {"prompt_ids": [1], "id": None}, TASKS[2]]
    run(Recipe(Bookkeeper()), policy(0.2), lambda row: rewards[row.group], steps=2, inner_steps=2, tasks=named)
    table = tables[1]
    assert table.correct[:16].tolist() == [1.0] * 8 + [0.0] * 8
    assert table.correct[16:].isnan().all()
    assert table.scored.tolist() == [True] * 16 + [False] * 8
    assert table.prompt_key[::8] == ["task 0", "1", "task 2"]
    assert table.length.tolist() == [TOKENS] * 24
    assert table.group.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert (table.step, table.total_steps) == (2, 4)


def test_rows_are_scored_under_other_prompts_before_the_reward():
    """The prompts of a tabular policy are its rows of logits, so the score under another prompt is known exactly."""
    seen = []

    @dataclass(frozen=True)
    class Neighbours(Method):
        name = "neighbours"

        def scores(self):
            return [Score("next", prompts_of_row=lambda row: [row.prompt_ids, [(row.prompt_ids[0] + 1) % PROMPTS]])]

        async def reward(self, rows):
            seen.extend(rows)
            return [0.0] * len(rows)

        def diagnose(self, live):
            assert live.score("next").shape == (len(seen), 2, TOKENS)
            return {"difference": live.score("next")[:, 0] - live.logp_old}

    student = policy(2.0)
    history = run(grpo() | Neighbours(), student, steps=1, lr=1e-12)
    assert history[0]["difference"] == 0
    for row in seen:
        other = student.score([replace(row, prompt_ids=[(row.prompt_ids[0] + 1) % PROMPTS])])[0][0]
        torch.testing.assert_close(row.scores["next"][1], other.detach())


@dataclass(frozen=True)
class Echo(Method):
    """One more row for each task, which repeats its first answer and earns its own reward."""

    name = "echo"
    tables: list = field(default_factory=list)

    def initial_state(self):
        return {"made": 0}

    async def extend(self, table, state, sampler):
        prompts = [[i] for i in range(PROMPTS)]
        samples = await sampler(prompts, max_tokens=1)
        return [
            Row(p, s.ids, 100 + i, {"id": f"echo {i}"}, extra=True, notes={"made": state["made"]})
            for i, (p, s) in enumerate(zip(prompts, samples, strict=True))
        ]

    async def reward(self, rows):
        return [0.25 if row.extra else 0.0 for row in rows]

    def remember(self, table, state):
        self.tables.append(table)
        return Memory({"made": state["made"] + int((~table.answers).sum())})


def test_extra_rows_join_the_batch_with_groups_and_rewards_of_their_own():
    echo = Echo()
    student = policy(0.2)
    history = run(grpo() | echo, student, steps=2)
    table = echo.tables[1]
    assert len(table.rewards) == PROMPTS * 8 + PROMPTS
    assert table.answers.tolist() == [True] * PROMPTS * 8 + [False] * PROMPTS
    assert table.rewards[-PROMPTS:].tolist() == [0.25] * PROMPTS
    assert table.correct[-PROMPTS:].isnan().all()
    assert table.length[-PROMPTS:].tolist() == [1] * PROMPTS
    assert table.prompt_key[-1] == f"echo {PROMPTS - 1}"
    assert [note.get("made") for note in table.notes[-2:]] == [PROMPTS, PROMPTS]
    assert not set(table.group[:-PROMPTS].tolist()) & set(table.group[-PROMPTS:].tolist())
    assert len(history) == 2


@given(st.integers(0, 10_000))
def test_tabular_samples_carry_the_log_probabilities_that_it_scores(seed):
    student = policy(1.0)
    prompts = [[i] for i in range(PROMPTS)]
    samples = asyncio.run(student.sample(prompts, max_tokens=TOKENS, temperature=1.0, seed=seed))
    logp, entropy, mask = student.score([Row(p, s.ids, 0) for p, s in zip(prompts, samples, strict=True)])
    torch.testing.assert_close(torch.tensor([s.logps for s in samples], dtype=torch.float64), logp.detach())
    assert mask.all()
    # one symbol at logit 1, three at 0: p = e / (e + 3) and 1 / (e + 3)
    p = [math.e / (math.e + 3)] + 3 * [1 / (math.e + 3)]
    torch.testing.assert_close(entropy.detach(), torch.full_like(entropy, -sum(x * math.log(x) for x in p)))


def test_the_sampler_takes_its_own_length_and_temperature():
    """At a temperature near 0 the right symbol, the likeliest, is sampled; at the run's own, 1, others are too."""
    sampler = LoopSampler(policy(0.2), TASKS, solved, TOKENS, random.Random(0))
    prompts = [[i] for i in range(PROMPTS)] * 4
    cold = asyncio.run(sampler(prompts, max_tokens=1, temperature=1e-3))
    assert [sample.ids for sample in cold] == [answer(i)[:1] for (i,) in prompts]
    warm = asyncio.run(sampler(prompts))
    assert {len(sample.ids) for sample in warm} == {TOKENS}
    assert any(sample.ids != answer(i) for (i,), sample in zip(prompts, warm, strict=True))
    assert {sample.finish for sample in cold + warm} == {"length"}


def test_tabular_samples_follow_the_distribution():
    """4,000 draws with p = e / (e + 3) = 0.475: five standard errors are 0.04."""
    samples = asyncio.run(policy(1.0).sample([[0]] * 4000, max_tokens=1, temperature=1.0, seed=0))
    share = sum(s.ids == [answer(0)[0]] for s in samples) / 4000
    assert share == pytest.approx(math.e / (math.e + 3), abs=0.04)
