"""Comparisons in worlds: what is played, by whom, and that a run in miniature goes through."""

import json
import random

import pytest
import torch

from posttrain.bench import play
from posttrain.bench.arms import parse
from posttrain.bench.compare import CompareConfig, run
from posttrain.bench.setups import policies, setup
from posttrain.files import read_lines
from posttrain.rl import EMPO2, Agent
from posttrain.rl.command_policy import CommandPolicy
from posttrain.tasks.worlds.crowd import Crowd

ARMS = ("grpo", "gigpo:kl_beta=0", "hgpo:kl_beta=0", "empo2:write=template")
SMALL = {"task": "corridor", "seeds": 1, "first_seed": 0, "steps": 2, "prompts": 4, "group_size": 4, "eval_rows": 8}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corridor")
    return run(CompareConfig(arms=ARMS, workers=1, **SMALL), folder), folder


def test_a_small_comparison_goes_through(result):
    found, folder = result
    assert set(found["arms"]) == set(ARMS)
    for arm in ARMS:
        lines = list(read_lines(folder / parse(arm).slug / "seed-0.jsonl"))
        assert [line["step"] for line in lines if "reward" in line] == [1, 2]
        assert lines[-1]["done"]
        assert lines[-1]["tokens"] > 0
        assert {"other corridors"} == set(lines[0]["eval"]["accuracy"])
    assert json.dumps(found)


def test_all_arms_begin_alike(result):
    _, folder = result
    first = [next(read_lines(folder / parse(arm).slug / "seed-0.jsonl"))["eval"] for arm in ARMS]
    assert all(one == first[0] for one in first)


@pytest.mark.parametrize("task", ["corridor", "open-corridor"])
def test_corridors_follow_from_the_seed_and_none_is_trained_and_evaluated(task):
    made = setup(task)
    assert made.rows(0) == setup(task).rows(0)
    assert made.rows(0) != made.rows(1)
    assert len(made.rows(0)) >= made.prompts
    trained = {row["id"] for row in made.rows(0)[: made.prompts]}
    evaluated = {row["id"] for rows in made.evaluation(16, 0).values() for row in rows}
    assert not evaluated & trained


def test_an_agent_takes_the_settings_of_its_task_but_for_those_of_the_arm():
    task = setup("corridor")
    with Crowd(task.world) as worlds:
        plain = play.recipe_of(parse("hgpo:kl_beta=0"), task, worlds)
        own = play.recipe_of(parse("empo2:turns=5"), task, worlds)
    assert isinstance(plain.owner("rollout"), Agent)
    assert plain.owner("rollout").turns == task.agent["turns"]
    assert isinstance(own.owner("rollout"), EMPO2)
    assert (own.owner("rollout").turns, own.owner("rollout").window) == (5, task.agent["window"])
    assert plain.owner("credit").name == "hgpo"


@pytest.mark.parametrize(
    ("arm", "task", "sentence"),
    [
        ("hgpo", "chain", "needs a world to act in"),
        ("empo2", "sums", "needs a world to act in"),
        ("rlad", "corridor", "needs a teacher"),
        ("upskill", "corridor", "needs prompts that name a strategy"),
        ("hgpo", "corridor", "add kl_beta=0"),
        ("grpo:temperature=0.5", "corridor", "has no temperature"),
    ],
)
def test_an_arm_that_does_not_fit_its_task_is_refused(arm, task, sentence):
    with pytest.raises(ValueError, match=sentence):
        CompareConfig(arms=(arm,), task=task)


def test_the_area_to_a_budget_by_hand():
    """From 0 to 10 up from 0 to 1, then level: 5 + 5 over 15, cut at 5: 1.25 over 5."""
    points = [(0.0, 0.0), (10.0, 1.0), (12.0, 1.0)]
    assert play.area(points, 15) == pytest.approx(10 / 15)
    assert play.area(points, 5) == pytest.approx(0.25)
    assert play.area([(0.0, 0.4)], 7) == pytest.approx(0.4)


def test_the_reader_follows_the_best_tip_and_is_nearly_uniform_without():
    """It was trained on other draws of the same made-up words."""
    policy, coin = policies.reader(0), random.Random("a test")
    followed, spread = [], []
    for _ in range(200):
        prompt, commands, best = policies.example(coin)
        with torch.no_grad():
            (chances,) = policy._logits([policy.encode(prompt)]).softmax(-1)
        if best is None:
            spread.append(chances.max().item() * len(commands))
        else:
            followed.append(chances[commands.index(best)].item() * len(commands))
    assert sum(followed) / len(followed) > 2, "more than twice as often as by chance"
    assert sum(spread) / len(spread) < 1.3


def test_the_reader_comes_from_its_seed_and_is_nobody_else_s():
    first, second = policies.reader(0), policies.reader(0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert bool(next(policies.reader(0).parameters()).any())
    assert isinstance(first, CommandPolicy)
