"""Subsets with equal numbers of trained weights, and the choice of a learning rate for each."""

import math

import peft
import pytest
from hypothesis import given
from hypothesis import strategies as st

import decoders
from posttrain.projections import attention
from posttrain.tune import Arm, Sweep, confine, equal_arms, sweep
from posttrain.tune.arms import SUBSETS, _ranks
from posttrain.tune.rows import Size

MODELS = {name: decoders.build(name) for name in ("llama",)}
PROJECTIONS = {name: attention(model) for name, model in MODELS.items()}


def test_ranks_by_hand():
    """Llama of 2 layers, hidden 32, 16 outputs of v: a rank costs 2 * 48 for v and 2 * 64 for q.

    Rank 4 of v is 384 weights: q has 3 * 128 = 384 exactly.
    """
    v, q = equal_arms(MODELS["llama"], PROJECTIONS["llama"], {"v": ("v",), "q": ("q",)}, rank=4)
    assert (v.parameters, q.parameters) == (384, 384)
    assert ({*v.ranks.values()}, {*q.ranks.values()}) == ({4}, {3})


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6), st.floats(0, 1))
def test_ranks_come_as_near_to_the_budget_as_they_can(shapes, share):
    """Within half of what a rank costs in the cheapest module that has room; the ranks of like modules differ by 1."""
    of = {f"m{i}": Size(*shape) for i, shape in enumerate(shapes)}
    least, most = sum(s.per_rank for s in of.values()), sum(s.per_rank * s.most for s in of.values())
    budget = round(least + share * (most - least))
    ranks = _ranks("arm", of, budget)
    assert all(1 <= ranks[name] <= size.most for name, size in of.items())
    spent = sum(ranks[name] * size.per_rank for name, size in of.items())
    room = [size.per_rank for name, size in of.items() if ranks[name] < size.most] or [2 * abs(budget - spent)]
    below = [size.per_rank for name, size in of.items() if ranks[name] > 1] or [0]
    assert budget - spent <= min(room) / 2
    assert spent - budget <= max(below) / 2
    if len({*shapes}) == 1:
        assert max(ranks.values()) - min(ranks.values()) <= 1


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("arm", ["v", "q", "q k v o"])
def test_an_arm_trains_what_it_says(name, arm):
    """Counted on the model itself: the adapter's rows that may move."""
    model = decoders.build(name)
    projections = attention(model)
    (found,) = equal_arms(model, projections, {arm: SUBSETS[arm]}, rank=8)
    wrapped = peft.get_peft_model(model, found.settings().lora(projections))
    confine(wrapped, projections, found.parts)
    rows = {}
    for each in projections:
        if each.part in found.parts:
            rows[each.module] = rows.get(each.module, 0) + len(each.rows)
    counted = 0
    for module, outputs in rows.items():
        layer = wrapped.get_base_model().get_submodule(module)
        rank, inputs = layer.lora_A["default"].weight.shape
        assert rank == found.ranks[module]
        assert layer.scaling["default"] == 2
        counted += rank * (inputs + outputs)
    assert counted == found.parameters


def test_a_budget_that_an_arm_cannot_have_is_refused():
    with pytest.raises(ValueError, match=r"arm 'q k v o' trains between 448 and"):
        equal_arms(MODELS["llama"], PROJECTIONS["llama"], rank=4, subsets={"q k v o": ("q", "k", "v", "o")})
    with pytest.raises(ValueError, match=r"arm 'v' trains between 96 and 1536"):
        equal_arms(MODELS["llama"], PROJECTIONS["llama"], {"v": ("v",)}, budget=2_000)


ARMS = [Arm("v", ("v",), {"m": 2}, 10), Arm("q", ("q",), {"m": 2}, 10)]
GRID = Sweep((0.1, 0.2, 0.4), choosing=(0, 1), measuring=(10, 11))
BEST = {"v": 0.2, "q": 0.4}


def fake(calls):
    def run(arm, rate, seed):
        calls.append((arm.name, rate, seed))
        return {"choice": -abs(rate - BEST[arm.name]), "score": rate + seed}

    return run


def test_each_arm_has_its_own_rate_measured_on_other_seeds(tmp_path):
    calls = []
    v, q = sweep(ARMS, fake(calls), GRID, choose_by="choice", rows=tmp_path / "rows.jsonl")
    assert (v.learning_rate, v.at_edge) == (0.2, False)
    assert (q.learning_rate, q.at_edge) == (0.4, True)
    assert v.measured["score"].mean == pytest.approx(0.2 + 10.5)
    assert v.measured["score"].n == 2
    assert {(rate, seed) for name, rate, seed in calls if name == "v" and seed >= 10} == {(0.2, 10), (0.2, 11)}


def test_a_killed_sweep_goes_on(tmp_path):
    class Killed(Exception):
        pass

    calls = []
    run = fake(calls)

    def until(arm, rate, seed):
        if len(calls) == 5:
            raise Killed
        return run(arm, rate, seed)

    with pytest.raises(Killed):
        sweep(ARMS, until, GRID, choose_by="choice", rows=tmp_path / "rows.jsonl")
    resumed = sweep(ARMS, run, GRID, choose_by="choice", rows=tmp_path / "rows.jsonl")
    assert len(calls) == len({*calls}) == 2 * (3 * 2 + 2)
    assert resumed == sweep(ARMS, fake([]), GRID, choose_by="choice", rows=tmp_path / "other.jsonl")


def test_runs_of_another_sweep_are_refused(tmp_path):
    sweep(ARMS, fake([]), GRID, choose_by="choice", rows=tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match="runs of another sweep"):
        sweep(ARMS, fake([]), Sweep((0.1,)), choose_by="choice", rows=tmp_path / "rows.jsonl")


def test_a_rate_that_diverges_is_not_chosen(tmp_path):
    def run(arm, rate, seed):
        return {"choice": math.nan if rate == 0.4 else rate}

    found = sweep(ARMS, run, GRID, choose_by="choice", rows=tmp_path / "rows.jsonl")
    assert [each.learning_rate for each in found] == [0.2, 0.2]


def test_impossible_sweeps_are_refused():
    for options, match in (
        ({"learning_rates": ()}, "learning_rates"), ({"learning_rates": (0.0,)}, "learning_rates"),
        ({"choosing": (1,), "measuring": (1, 2)}, r"seeds \[1\]"), ({"measuring": ()}, "a seed each"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            Sweep(**options)
