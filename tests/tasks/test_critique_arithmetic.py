"""Sums to solve, judge and repair: rows, working, quoting and the verdicts. Python's arithmetic is the reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import by_python
from posttrain.tasks import critique_arithmetic as task
from posttrain.zoo.models import make_tokenizer

FORM = task.SumCritique()
QUESTION = "G:7+5-3="
ROWS = task.sums(300, seed=3)
rows = st.sampled_from(ROWS)
texts = st.text(alphabet=task.TOKENS, max_size=30)


@given(rows)
def test_right_working_is_judged_right_and_every_other_answer_wrong(row: dict[str, Any]) -> None:
    sum_text = row["prompt"][2:-1]
    growing = [sum_text[: 3 + 2 * step] for step in range(row["steps"])]
    found = task.partial_sums(row["prompt"])
    assert found == [by_python(part) for part in growing]
    assert min(found) >= 0
    assert row["answer"] == str(found[-1])
    response = task.working(row["prompt"], found)
    assert task.sum_verdict(response, row["answer"]) == (1.0, 1.0)
    wrong = task.working(row["prompt"], [*found[:-1], found[-1] + 1])
    assert task.sum_verdict(wrong, row["answer"]) == (0.0, 0.0)
    assert len(response) + 2 <= task.MAX_TOKENS


def test_worked_example() -> None:
    """7 + 5 = 12, 12 - 3 = 9."""
    response = task.working(QUESTION, task.partial_sums(QUESTION))
    assert response == "+5:12-3:9=9"
    assert FORM.prompt(QUESTION, response) == "J:7+5-3=+5:12-3:9=9?"
    repair = FORM.refinement(QUESTION, "+5:13-3:10=10", "+5:12-3:9=9W")
    assert repair == "F:7+5-3=+5:13-3:10=10?+5:12-3:9=9W?"


@pytest.mark.parametrize(
    ("completion", "correct"),
    [("=9", 1.0), ("=8=9", 1.0), ("9", 0.0), ("=9=", 0.0), ("=09", 0.0), ("=99", 0.0), ("=9R", 0.0), ("", 0.0)],
)
def test_only_what_follows_the_last_marker_counts(completion: str, correct: float) -> None:
    assert task.sum_verdict(completion, "9") == (correct, correct)


@pytest.mark.parametrize(
    ("critique", "verdict"),
    [
        ("+5:12-3:9=9R", True),
        ("+5:12-3:9=9W", False),
        ("RRRW", False),
        ("WR", True),
        ("R", True),
        ("R=9", None),
        ("+5:12-3:9=9", None),
        ("W?", None),
        ("", None),
    ],
)
def test_the_verdict_is_the_last_character(critique: str, verdict: bool | None) -> None:
    assert FORM.verdict(critique) is verdict


@given(rows, texts)
def test_a_response_cannot_plant_a_mark_in_the_critique_prompt(row: dict[str, Any], response: str) -> None:
    """One `?`, at the end; no verdict and no second question; digits and signs are quoted as they are."""
    prompt = FORM.prompt(row["prompt"], response)
    assert prompt.startswith("J:" + row["prompt"][2:])
    assert prompt.index("?") == len(prompt) - 1
    assert not set("RWGF") & set(prompt)
    assert prompt.count("J") == 1
    quoted = prompt[len(row["prompt"]) : -1]
    assert quoted == "".join(c for c in response if c not in "GJFRW?")
    assert FORM.verdict(prompt) is None


@given(rows, texts, texts)
def test_a_refinement_quotes_the_response_without_marks_and_the_critique_with_its_verdict(
    row: dict[str, Any], response: str, critique: str
) -> None:
    prompt = FORM.refinement(row["prompt"], response, critique)
    first, quoted, rest = prompt.split("?")
    assert first + "?" == "F" + FORM.prompt(row["prompt"], response)[1:]
    assert quoted == "".join(c for c in critique if c not in "GJF?")
    assert rest == ""
    if FORM.verdict(critique) is not None:
        assert FORM.verdict(quoted) is FORM.verdict(critique)


@given(rows)
def test_a_prompt_holds_the_question_and_what_is_quoted_and_nothing_else(row: dict[str, Any]) -> None:
    assert FORM.prompt(row["prompt"], "") == f"J:{row['prompt'][2:]}?"
    assert FORM.refinement(row["prompt"], "", "") == f"F:{row['prompt'][2:]}??"


@given(rows, texts, texts)
def test_every_prompt_round_trips_through_the_tokenizer(row: dict[str, Any], response: str, critique: str) -> None:
    tokenizer = make_tokenizer(task.TOKENS)
    question = row["prompt"]
    for text in (question, FORM.prompt(question, response), FORM.refinement(question, response, critique)):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert len(tokenizer.encode(text)) == len(text)


@pytest.mark.parametrize("question", ["J:7+5-3=", "7+5-3=", "G:7+5-3", "G:7=", "G:07+5=", ""])
def test_what_is_no_question_is_an_error(question: str) -> None:
    with pytest.raises(ValueError, match=r"expected a question such as 'G:7\+5-3='$"):
        FORM.prompt(question, "=9")
    with pytest.raises(ValueError, match=r"expected a question such as 'G:7\+5-3='$"):
        FORM.refinement(question, "=9", "R")


def test_rows_are_reproducible_and_distinct() -> None:
    assert task.sums(300, seed=3) == ROWS
    assert task.sums(300, seed=4) != ROWS
    assert len({row["prompt"] for row in ROWS}) == len({row["id"] for row in ROWS}) == 300
    assert list(ROWS[0]) == ["prompt", "answer", "id", "steps"]
    assert {row["steps"] for row in ROWS} == {2, 3}
    assert {row["steps"] for row in task.sums(20, seed=0, steps=2)} == {2}


def test_splits_share_no_question_under_any_seed() -> None:
    train, held_out = (
        {row["prompt"] for seed in (0, 1) for row in task.sums(400, steps=2, seed=seed, split=split)}
        for split in ("train", "eval")
    )
    assert train.isdisjoint(held_out)
    assert len(train) > 400, "two seeds draw different questions"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 4}, "steps is 4; expected 2 or 3"),
        ({"n": 0}, "n is 0; ask for at least 1 prompt"),
        ({"split": "test"}, "split is 'test'; expected 'train' or 'eval'"),
        ({"n": 5000, "steps": 2}, r"n is 5000, but only 12\d\d train prompts were found; ask for at most that many"),
    ],
)
def test_bad_requests_say_what_to_do(change: dict[str, Any], message: str) -> None:
    request: dict[str, Any] = {"n": 3, "seed": 0} | change
    with pytest.raises(ValueError, match=f"^{message}$"):
        task.sums(**request)
