"""Each task of a comparison: its student knows every prompt, a right answer is judged right, and measures measure."""

from functools import cache

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain import zoo
from posttrain.bench.setups import TASKS, Trained, WorldSetup, chain, setup, sums, three_numbers
from posttrain.rl import grpo, upskill
from posttrain.tasks.critique import critique_verdict
from posttrain.tasks.three_numbers import right_answers

WORLDS = [task for task in TASKS if isinstance(setup(task), WorldSetup)]
TEXTS = [task for task in TASKS if task not in WORLDS]
tasks = pytest.mark.parametrize("task", TEXTS)
RIGHT = {"three-numbers": lambda answer: right_answers(answer)[0]}
"""A right completion by task; elsewhere it is what follows the last `=`."""


@cache
def tokenizer(name: str):
    return AutoTokenizer.from_pretrained(zoo.path(name))


def known(name: str, text: str) -> bool:
    """Whether a model reads a text and gives it back as it was."""
    ids = tokenizer(name)(text, add_special_tokens=False)["input_ids"]
    return tokenizer(name).unk_token_id not in ids and tokenizer(name).decode(ids) == text


def rows_of(task: str) -> list[dict]:
    """Some training rows and all of a small evaluation."""
    made = setup(task)
    held_out = [row for group in made.evaluation(16).values() for row in group]
    return [*made.rows(0)[::10], *held_out]


@tasks
def test_the_models_know_every_prompt(task):
    made = setup(task)
    for row in rows_of(task):
        for name in filter(None, (made.student, made.teacher)):
            assert known(name, row["prompt"])


@tasks
def test_a_right_answer_is_judged_right_and_fits(task):
    made = setup(task)
    right = RIGHT.get(task, lambda answer: f"={answer}")
    for row in rows_of(task):
        completion = right(row["answer"])
        assert made.verify(completion, row["answer"]).correct == 1
        assert made.verify(completion + "?", row["answer"]).correct == 0
        assert known(made.student, completion)
        assert len(tokenizer(made.student)(completion, add_special_tokens=False)["input_ids"]) < made.max_completion


@tasks
def test_rows_follow_from_the_seed_and_the_evaluation_from_nothing(task):
    made = setup(task)
    assert made.rows(0) == setup(task).rows(0)
    assert made.rows(0) != made.rows(1)
    assert made.evaluation(16) == setup(task).evaluation(16)
    assert sum(map(len, made.evaluation(16).values())) == 16
    ids = {row["id"]: row["prompt"] for row in made.rows(0)}
    assert len(ids) == len({row["prompt"] for row in made.rows(0)})
    assert len(made.rows(0)) >= made.prompts


@pytest.mark.parametrize("task", [task for task in TEXTS if task != "three-numbers"])
def test_no_prompt_is_trained_on_and_held_out(task):
    """Three numbers has too few prompts for that, as in the paper."""
    made = setup(task)
    held_out = {row["prompt"] for group in made.evaluation(16).values() for row in group}
    assert not held_out & {row["prompt"] for row in made.rows(0)}


def test_a_strategy_can_be_asked_for_where_a_recipe_has_them():
    made = setup("three-numbers")
    for place, row in enumerate(made.evaluation(10)["all prompts"]):
        assert made.ask(grpo(), row["prompt"], place) == row["prompt"]
        asked = made.ask(grpo() | upskill(), row["prompt"], place)
        assert asked == f"Strategy {1 + place % 5} | {row['prompt']}"
        assert known(made.student, asked)


def test_static_critiques_are_prompts_the_student_knows_with_both_verdicts():
    rows = sums._pairs(sums.sums(12, seed=0), seed=0)
    verify = critique_verdict(sums.FORM)
    assert {row["answer"] for row in rows} == {"right", "wrong"}
    for row in rows:
        assert known(sums.STUDENT, row["prompt"])
        said = {"right": "R", "wrong": "W"}[row["answer"]]
        assert verify(said, row["answer"]).correct == 1
        assert verify({"R": "W", "W": "R"}[said], row["answer"]).correct == 0


# -- what is measured at the end ------------------------------------------------------------------------------------


def measured(task: str, recipe) -> dict[str, float]:
    """The measures of the start model."""
    made = setup(task)
    model = AutoModelForCausalLM.from_pretrained(zoo.path(made.student)).eval()
    return made.measure(Trained(model, tokenizer(made.student), recipe))


def test_chains_are_measured_by_level(monkeypatch):
    monkeypatch.setattr(chain, "EVALUATED", 2)
    monkeypatch.setattr(chain, "ATTEMPTS", 2)
    found = measured("chain", grpo())
    kinds = ("accuracy", "pass@2", "length", "entropy", "truncated")
    assert set(found) == {f"{level} {kind}" for level in ("easy", "hard") for kind in kinds}
    for level in ("easy", "hard"):
        assert 0 <= found[f"{level} accuracy"] <= found[f"{level} pass@2"] <= 1
        assert 1 <= found[f"{level} length"] <= setup("chain").max_completion
        assert found[f"{level} entropy"] > 0


def test_sums_are_measured_by_solving_and_judging(monkeypatch):
    monkeypatch.setattr(sums, "JUDGED", 4)
    monkeypatch.setattr(sums, "ATTEMPTS", 1)
    found = measured("sums", grpo())
    assert {"solving", "judging, p1", "judging, p2", "judging, balanced", "judging, unparsable"} <= set(found)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["judging, balanced"] == pytest.approx((found["judging, p1"] + found["judging, p2"]) / 2)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(three_numbers, "EVALUATED", 4)
    monkeypatch.setattr(three_numbers, "REPEATS", 2)
    monkeypatch.setattr(three_numbers, "TEMPERATURES", (1.0, 2.0))


def test_strategies_are_measured_with_their_information(few):
    found = measured("three-numbers", grpo() | upskill())
    shares = ("pass@1", "pass@5", "consensus", "plurality", "pass@5, one strategy")
    assert all(0 <= found[name] <= 1 for name in shares)
    assert found["pass@1"] <= found["pass@5"]
    assert 1 <= found["distinct answers"] <= 5
    assert found["information, sequence"] <= 1.61
    assert found["H(token | z)"] > 0
    assert (found["H(token)"] - found["H(token | z)"]) * 4 == pytest.approx(found["information, token"], abs=0.05)


def test_the_control_without_strategies_is_measured_as_often(few):
    found = measured("three-numbers", grpo())
    assert found["pass@1"] <= found["pass@5"]
    assert 0 <= found["pass@5, best temperature"] <= 1
    assert "information, sequence" not in found
