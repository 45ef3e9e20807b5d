"""How methods compose: what adds up, what has one owner, what clashes, and what is told."""

import asyncio
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import (
    CRL,
    GRPO,
    KDRL,
    RLAD,
    Credit,
    Memory,
    Method,
    Recipe,
    RecipeClash,
    Row,
    Score,
    Settings,
    Table,
    ceeh,
    engine_default,
    entropy_bonus,
    grpo,
    kdrl,
    opd,
    policy_loss,
    rlad,
)
from rl.cases import random_live


@dataclass(frozen=True)
class First(Method):
    name = "first"
    paper = "First et al."


@dataclass(frozen=True)
class Second(Method):
    name = "second"
    paper = "Second et al."


def filling(base: type, hook: str, function: Any) -> Method:
    """A toy method that fills one hook."""
    return type(base.__name__, (base,), {hook: function, "name": base.name, "paper": base.paper})()


ROWS = [Row([0], [1], 0), Row([0], [2], 0)]


def rewarding(base: type, *values: float) -> Method:
    async def reward(self, rows):
        return values

    return filling(base, "reward", reward)


def table(rewards=(1.0, 0.0), **fields) -> Table:
    rewards = torch.tensor(rewards)
    rows = len(rewards)
    return Table(rewards, torch.zeros(rows).long(), rewards, ["p"] * rows, torch.ones(rows).long(), **fields)


# -- what adds up -----------------------------------------------------------------------------------------------


def test_rewards_add_up():
    recipe = rewarding(First, 1.0, 2.0) | rewarding(Second, 0.25, -2.0)
    assert asyncio.run(recipe.reward(ROWS)) == [1.25, 0.0]


def test_a_recipe_without_rewards_adds_nothing():
    assert asyncio.run(grpo().reward(ROWS)) == [0.0, 0.0]


def test_nan_from_one_method_makes_the_row_unscored():
    recipe = rewarding(First, 1.0, math.nan) | rewarding(Second, 1.0, 5.0)
    total = asyncio.run(recipe.reward(ROWS))
    assert total[0] == 2.0
    assert math.isnan(total[1])


def test_one_reward_too_few_names_the_method():
    with pytest.raises(ValueError, match="first gave 1 rewards for 2 rows"):
        asyncio.run((grpo() | rewarding(First, 1.0)).reward(ROWS))


def test_penalties_add_up_whether_per_token_or_per_row():
    live = random_live(0)
    per_row = torch.arange(6.0).double()
    recipe = filling(First, "penalty", lambda self, live: 2 * live.logp) | filling(
        Second, "penalty", lambda self, live: per_row
    )
    torch.testing.assert_close(recipe.penalty(live), 2 * live.logp + per_row.unsqueeze(1))


def test_no_penalty_is_none():
    assert rlad("t").penalty(random_live(0)) is None


def test_shapes_apply_in_order():
    """(A + 1) x 2 is not A x 2 + 1."""
    live = random_live(0)
    plus = filling(First, "shape", lambda self, live: live.advantages + 1)
    twice = filling(Second, "shape", lambda self, live: live.advantages * 2)
    assert torch.equal((plus | twice).shape(live), (live.advantages + 1) * 2)
    assert torch.equal((twice | plus).shape(live), live.advantages * 2 + 1)


def test_diagnoses_of_all_methods_are_logged():
    ones = filling(First, "diagnose", lambda self, live: {"one": torch.ones_like(live.logp)})
    metrics = policy_loss(ones | rlad("t"), live := random_live(0)).metrics
    assert metrics["one"].total == metrics["one"].count == live.mask.sum()
    assert "teacher/kl" in metrics


# -- what has one owner -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["rollout", "extend", "credit", "anchor"])
def test_two_owners_of_one_hook_name_both_papers(hook):
    one, other = (filling(base, hook, lambda self, *args: None) for base in (First, Second))
    with pytest.raises(RecipeClash, match=rf"First et al\..*Second et al\..*both define {hook}.*leave one"):
        _ = one | other


@pytest.mark.parametrize("hook", ["reward", "remember", "shape", "penalty"])
def test_the_other_hooks_may_be_filled_twice(hook):
    one, other = (filling(base, hook, lambda self, *args: None) for base in (First, Second))
    assert (one | other).methods == (one, other)


@pytest.mark.parametrize("hook", ["rollout", "extend", "credit", "anchor"])
def test_the_method_that_fills_a_hook_owns_it_and_else_the_base(hook):
    one = filling(First, hook, lambda self, *args: None)
    recipe = grpo() | one | Second()
    assert recipe.owner(hook) is one
    assert (grpo() | Second()).owner(hook) == GRPO()
    assert recipe.fills(hook)
    assert not (grpo() | Second()).fills(hook)


def test_a_base_of_its_own_kind_credits_for_itself():
    assert isinstance(engine_default().owner("credit"), type(engine_default().base))


# -- what clashes -----------------------------------------------------------------------------------------------


def test_two_methods_that_set_one_setting_differently_clash():
    @dataclass(frozen=True)
    class Narrow(Method):
        name = "narrow"
        paper = "Narrow et al."

        @property
        def settings(self):
            return Settings(clip_high=0.1)

    with pytest.raises(RecipeClash, match=r"rlad sets clip_high=0\.28 and narrow sets clip_high=0\.1"):
        _ = rlad("t") | Narrow()
    assert (rlad("t", clip_high=0.1) | Narrow()).settings.clip_high == 0.1


def test_a_configured_base_and_a_method_clash():
    with pytest.raises(RecipeClash, match=r"grpo sets clip_high=0\.3 and rlad sets clip_high=0\.28"):
        _ = grpo(clip_high=0.3) | rlad("t")
    with pytest.raises(RecipeClash, match="engine_default sets aggregation=token and kdrl sets aggregation=sequence"):
        _ = engine_default() | kdrl("t", aggregation="sequence")


def test_a_dual_clip_below_the_clip_of_a_method_is_rejected():
    """dual_clip = 1.25 is above GRPO's own bound 1.2 but below RLAD's 1.28."""
    with pytest.raises(ValueError, match=r"dual_clip=1\.25 must exceed 1 \+ clip_high = 1\.28"):
        _ = grpo(dual_clip=1.25) | rlad("t")


def test_the_same_method_twice_clashes():
    with pytest.raises(RecipeClash, match="rlad stands twice"):
        _ = rlad("t") | rlad("t")


def test_two_different_bases_clash():
    with pytest.raises(RecipeClash, match=r"grpo sets clip_low=0\.1 and grpo sets clip_low=0\.3"):
        _ = grpo(clip_low=0.1) | grpo(clip_low=0.3)
    with pytest.raises(RecipeClash, match=r"grpo sets .* and engine_default sets "):
        _ = grpo(clip_low=0.1) | engine_default()
    assert (grpo(clip_low=0.1) | grpo(clip_low=0.1)).base == GRPO(clip_low=0.1)


def test_two_scores_of_one_name_must_ask_for_the_same_model():
    with pytest.raises(RecipeClash, match="wants a score 'teacher' of another model"):
        _ = rlad("one") | kdrl("other")
    assert (rlad("one") | kdrl("one")).scores() == [Score("teacher", model="one")]


def test_a_clash_is_a_value_error():
    assert issubclass(RecipeClash, ValueError)


# -- settings and what is told ----------------------------------------------------------------------------------


def test_a_deviation_that_no_credit_divides_by_is_not_listed():
    listed = {(name, source) for name, _, source in (grpo(spread="none") | ceeh()).describe()}
    assert not {name for name, _ in listed} & {"spread", "epsilon"}
    assert {("spread", "grpo given"), ("epsilon", "grpo default")} <= {
        (name, source) for name, _, source in (grpo(spread="none") | entropy_bonus()).describe()
    }
    owner = [(name, value, source) for name, value, source in Recipe.of(CRL()).describe() if name == "spread"]
    assert owner == [("spread", "population", "c_rl default")]


def test_a_score_names_a_model_or_prompts():
    with pytest.raises(ValueError, match=r"'own' has neither a model nor prompts.*Live\.logp"):
        Score("own")


def test_every_setting_says_where_it_comes_from():
    sources = (grpo(kl_beta=0.01) | rlad("t") | kdrl("t")).sources
    assert {key: (s.value, s.source) for key, s in sources.items()} == {
        "clip_low": (0.2, "rlad"),
        "clip_high": (0.28, "rlad"),
        "dual_clip": (0.0, "grpo default"),
        "aggregation": ("token", "kdrl"),
        "kl_beta": (0.01, "grpo"),
    }


def test_the_name_lists_the_methods_or_else_the_base():
    assert (grpo() | rlad("t") | kdrl("t")).name == "rlad|kdrl"
    assert engine_default().name == "engine_default"


def test_composition_is_associative():
    a, b, c = grpo(kl_beta=0.1), rlad("t"), kdrl("t")
    assert (a | b) | c == a | (b | c)


def test_methods_compose_without_builders():
    assert RLAD("t") | KDRL("t") == rlad("t") | kdrl("t")
    assert GRPO(kl_beta=0.1) | RLAD("t") == grpo(kl_beta=0.1) | rlad("t")


@pytest.mark.parametrize(("builder", "method"), [(grpo, GRPO), (rlad, RLAD), (kdrl, KDRL)])
def test_a_builder_has_the_signature_of_its_method(builder, method):
    assert inspect.signature(builder).parameters == inspect.signature(method).parameters


def test_an_unknown_setting_is_rejected():
    with pytest.raises(TypeError, match="alhpa"):
        rlad("t", alhpa=0.3)


# -- credit, columns and state ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counting(Method):
    """Counts generations and remembers the best reward of each prompt."""

    name = "counting"
    paper = "a toy"
    weights: Mapping[str, float] = field(default_factory=dict)

    def initial_state(self):
        return {"generations": 0, "best": {}}

    def credit(self, table, state):
        best = self.best(table, state)
        bonus = torch.tensor([best[key] for key in table.prompt_key])
        return Credit(bonus, {"bonus": bonus}, {"before": state["generations"]})

    def remember(self, table, state):
        generations = state["generations"] + 1
        return Memory({"generations": generations, "best": self.best(table, state)}, {"generations": generations})

    def best(self, table, state):
        best = dict(state["best"])
        for key, reward in zip(table.prompt_key, table.rewards.tolist(), strict=True):
            best[key] = max(best.get(key, -math.inf), reward)
        return best


def test_credit_always_gives_the_common_columns():
    """Row 2 is unscored: not counted as correct, and its group is solved by row 0."""
    rewards = torch.tensor([1.0, 0.0, math.nan, 0.0])
    credit = grpo().credit(Table(rewards, torch.tensor([0, 0, 0, 1]), rewards, list("aaab"), torch.ones(4)))
    assert {name: column.tolist() for name, column in credit.columns.items()} == {
        "scored": [1, 1, 0, 1],
        "correct": [1, 0, 0, 0],
        "any_correct": [1, 1, 1, 0],
    }


def test_an_unscored_row_gets_zero_even_from_a_careless_method():
    careless = filling(First, "credit", lambda self, table, state: Credit(torch.tensor([1.0, math.nan])))
    assert (grpo() | careless).credit(table((1.0, math.nan))).advantages.tolist() == [1.0, 0.0]


def test_only_remember_changes_the_state_and_never_in_place():
    recipe = grpo() | Counting()
    start = recipe.initial_state()
    assert start == {"counting": {"generations": 0, "best": {}}}
    recipe.credit(table(), start)
    trained = recipe.remember(table(), start)
    assert trained.state == {"counting": {"generations": 1, "best": {"p": 1.0}}}
    assert start == {"counting": {"generations": 0, "best": {}}}


def test_methods_that_own_nothing_remember_side_by_side():
    @dataclass(frozen=True)
    class Longest(Method):
        name = "longest"
        paper = "a toy"

        def initial_state(self):
            return 0

        def remember(self, table, state):
            return Memory(max(state, int(table.length.max())), {"longest": 1.0})

    recipe = Counting() | Longest()
    state, metrics = recipe.remember(table(), recipe.initial_state())
    assert state == {"counting": {"generations": 1, "best": {"p": 1.0}}, "longest": int(table().length.max())}
    assert metrics == {"generations": 1, "longest": 1.0}


@given(
    st.lists(st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=2), min_size=1, max_size=5), st.integers(0, 4)
)
def test_a_run_restored_from_json_goes_on_as_if_never_stopped(generations, stop):
    recipe = grpo() | Counting()

    def run(restore_at):
        state, seen = recipe.initial_state(), []
        for i, rewards in enumerate(generations):
            if i == restore_at:
                state = json.loads(json.dumps(state))
            credit = recipe.credit(table(tuple(rewards)), state)
            state = recipe.remember(table(tuple(rewards)), state).state
            seen.append(credit.advantages.tolist())
        return state, seen

    assert run(stop) == run(None)


def test_a_methods_columns_and_metrics_pass_through():
    credit = (grpo() | Counting()).credit(table())
    assert credit.columns["bonus"].tolist() == [1.0, 1.0]
    assert credit.metrics == {"before": 0}


@pytest.mark.parametrize(
    "name",
    ["group", "correct", "prompt_key", "length", "skill", "acted", "extra", "notes", "prompts", "completions"],
)
def test_a_table_with_one_row_too_few_names_the_column(name):
    good = table((1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=rf"Table\.{name} has 2 rows, but rewards has 3"):
        replace(good, **{name: torch.zeros(2)})


def test_an_empty_recipe_is_grpo():
    assert Recipe() == grpo()
    assert opd("t").base == GRPO()
