"""Three numbers: rows, all right answers, the verdict. Exact fractions are the reference."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.tasks import three_numbers as task
from posttrain.zoo.models import make_tokenizer

EXPRESSIONS = [f"{a}{op}{b}" for a in range(10) for op in task.OPERATORS for b in range(10)]
digits = st.lists(st.integers(0, 9), min_size=3, max_size=3)


def spaced(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))


def reference(expression: str, numbers: list[int]) -> bool:
    """Take the two numbers out of the list, one after the other, and compare exact values."""
    first, operator, second = int(expression[0]), expression[1], int(expression[2])
    left = list(numbers)
    for number in (first, second):
        if number not in left:
            return False
        left.remove(number)
    if operator in "/%" and second == 0:
        return False
    value = {
        "+": lambda: Fraction(first + second),
        "-": lambda: Fraction(first - second),
        "*": lambda: Fraction(first * second),
        "/": lambda: Fraction(first, second),
        "%": lambda: Fraction(first - second * int(Fraction(first, second))),
    }[operator]()
    return value == left[0]


@given(digits)
def test_the_verdict_agrees_with_exact_fractions_on_every_expression(numbers: list[int]) -> None:
    for expression in EXPRESSIONS:
        expected = float(reference(expression, numbers))
        assert task.three_numbers_verdict(expression, spaced(numbers)) == (expected, expected), expression


@given(digits)
def test_the_listed_answers_are_all_the_right_ones_in_any_order(numbers: list[int]) -> None:
    expected = sorted(e for e in EXPRESSIONS if reference(e, numbers))
    for order in itertools.permutations(numbers):
        assert task.right_answers(spaced(list(order))) == expected


@given(st.text(alphabet="0123456789+-*/% =²٣", max_size=5))
def test_only_three_characters_can_be_right(text: str) -> None:
    verdict = task.three_numbers_verdict(text, "3 5 8")
    assert verdict.correct == float(text in {"3+5", "5+3", "8-3", "8-5", "8%5"})


def test_worked_examples() -> None:
    """8 mod 5 = 3; 9 / 2 leaves a remainder; a 4 that is given once is used once; nothing is divided by 0."""
    assert task.right_answers("8 3 5") == ["3+5", "5+3", "8%5", "8-3", "8-5"]
    assert task.right_answers("9 2 4") == []
    assert task.three_numbers_verdict("4+4", "4 8 1").correct == 0.0
    assert task.three_numbers_verdict("4+4", "4 8 4").correct == 1.0
    assert task.right_answers("0 5 5") == ["0+5", "5%5", "5+0", "5-0", "5-5"]
    assert task.right_answers("0 0 0") == ["0*0", "0+0", "0-0"]


def test_rows_can_be_answered() -> None:
    rows = task.three_numbers(200, seed=0)
    assert rows == task.three_numbers(200, seed=0)
    assert rows != task.three_numbers(200, seed=1)
    assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == 200
    for row in rows:
        assert list(row) == ["prompt", "answer", "id"]
        assert row["prompt"] == row["answer"] + "="
        for expression in task.right_answers(row["answer"]):
            assert task.three_numbers_verdict(expression, row["answer"]).correct == 1.0
    assert max(len(task.right_answers(row["answer"])) for row in rows) >= 4


def test_splits_share_no_prompt_and_hold_all_of_them() -> None:
    possible = {
        spaced(list(n)) + "=" for n in itertools.product(range(10), repeat=3) if task.right_answers(spaced(list(n)))
    }
    train = {row["prompt"] for row in task.three_numbers(266, seed=0)}
    held_out = {row["prompt"] for row in task.three_numbers(150, seed=1, split="eval")}
    assert train.isdisjoint(held_out)
    assert train | held_out == possible
    with pytest.raises(
        ValueError, match=r"^n is 267, but only 266 train prompts were found; ask for at most that many$"
    ):
        task.three_numbers(267, seed=0)


@given(digits, st.integers(1, 9), st.sampled_from(EXPRESSIONS))
def test_prompts_with_and_without_a_strategy_round_trip(numbers: list[int], strategy: int, expression: str) -> None:
    """The prefix costs three tokens, and the prompt's own tokens stay the same behind it."""
    tokenizer = make_tokenizer(task.TOKENS)
    prompt = spaced(numbers) + "="
    conditioned = task.with_strategy(prompt, strategy)
    assert conditioned == f"Strategy {strategy} | {prompt}"
    for text in (prompt, conditioned, conditioned + expression):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.pad_token_id not in tokenizer.encode(text)
    assert tokenizer.encode(conditioned)[3:] == tokenizer.encode(prompt)
    assert len(tokenizer.encode(conditioned)) == 9
    assert len(tokenizer.encode(expression)) + 1 == task.MAX_TOKENS


@pytest.mark.parametrize("strategy", [0, 10, -1])
def test_a_strategy_is_one_digit(strategy: int) -> None:
    with pytest.raises(ValueError, match=rf"^strategy is {strategy}; expected 1 to 9$"):
        task.with_strategy("3 5 8=", strategy)


@pytest.mark.parametrize("answer", ["3 5", "3 5 8=", "3 5 x", "3  5 8", "3 5 12", ""])
def test_an_answer_is_three_numbers(answer: str) -> None:
    with pytest.raises(ValueError, match=r"expected three numbers from 0 to 9, such as '3 5 8'$"):
        task.three_numbers_verdict("3+5", answer)
