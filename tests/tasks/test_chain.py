"""Chained sums: rows, traces of any wordiness, the verdict. Python's own arithmetic is the reference."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import by_python
from posttrain.tasks import chain
from posttrain.zoo.models import make_tokenizer

digit = st.integers(0, 9)
operation = st.tuples(st.sampled_from("+-"), digit).map(lambda step: f"{step[0]}{step[1]}")
prompts = st.builds(lambda first, rest: f"{first}{''.join(rest)}=", digit, st.lists(operation, min_size=2, max_size=8))


def wordy(prompt: str, data: st.DataObject, sums: list[int]) -> str:
    flags = st.lists(st.booleans(), min_size=len(sums), max_size=len(sums))
    return chain.trace(prompt, sums=sums, repeated=data.draw(flags), restated=data.draw(flags))


@given(prompts)
def test_partial_sums_are_those_of_the_growing_expression(prompt: str) -> None:
    growing = [prompt[: 3 + 2 * step] for step in range((len(prompt) - 2) // 2)]
    assert chain.partial_sums(prompt) == [by_python(part) % 10 for part in growing]


@given(prompts, st.data())
def test_a_right_trace_is_judged_right_at_any_wordiness(prompt: str, data: st.DataObject) -> None:
    answer = str(by_python(prompt[:-1]) % 10)
    text = wordy(prompt, data, chain.partial_sums(prompt))
    assert chain.chain_verdict(text, answer) == (1.0, 1.0)
    wrong = str((int(answer) + data.draw(st.integers(1, 9))) % 10)
    assert chain.chain_verdict(text, wrong) == (0.0, 0.0)
    assert len(text) < chain.MAX_TOKENS


@given(prompts, st.data())
def test_every_statement_of_a_right_trace_is_true(prompt: str, data: st.DataObject) -> None:
    """Restated steps hold modulo 10, and without the repetitions the shortest trace is left."""
    text = wordy(prompt, data, chain.partial_sums(prompt))
    for statement, total in re.findall(r"\((\d[+-]\d):(\d)\)", text):
        assert by_python(statement) % 10 == int(total)
    bare = re.sub(r"(:\d)\1", r"\1", re.sub(r"\([^)]*\)", "", text))
    never = [False] * len(chain.partial_sums(prompt))
    assert bare == chain.trace(prompt, sums=chain.partial_sums(prompt), repeated=never, restated=never)
    assert re.sub(r":\d", "", bare).partition("=")[0] == prompt[1:-1]


@given(prompts, st.data())
def test_prompts_and_traces_round_trip_through_the_tokenizer(prompt: str, data: st.DataObject) -> None:
    tokenizer = make_tokenizer(chain.TOKENS)
    text = prompt + wordy(prompt, data, chain.partial_sums(prompt))
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_worked_example() -> None:
    """7 + 5 = 12, 2 - 3 = -1, 9 + 8 = 17, all modulo 10."""
    said = {"sums": [2, 9, 7], "repeated": [True, False, True], "restated": [True, True, False]}
    assert chain.partial_sums("7+5-3+8=") == [2, 9, 7]
    assert chain.trace("7+5-3+8=", **said) == "+5:2:2(7+5:2)-3:9(2-3:9)+8:7:7=7"
    nothing = [False] * 3
    assert chain.trace("7+5-3+8=", sums=[3, 0, 8], repeated=nothing, restated=nothing) == "+5:3-3:0+8:8=8"


def test_the_longest_trace_fits() -> None:
    always = [True] * 8
    longest = chain.trace("1" + "+1" * 8 + "=", sums=list(range(2, 10)), repeated=always, restated=always)
    assert len(longest) + 1 == chain.MAX_TOKENS


@pytest.mark.parametrize(
    ("completion", "correct"),
    [
        ("=7", 1.0),
        ("+5:2=2=7", 1.0),
        ("7", 0.0),
        ("", 0.0),
        ("=", 0.0),
        ("=7=", 0.0),
        ("=77", 0.0),
        ("=07", 0.0),
        ("=7=2", 0.0),
        ("=7:", 0.0),
    ],
)
def test_only_what_follows_the_last_marker_counts(completion: str, correct: float) -> None:
    assert chain.chain_verdict(completion, "7") == (correct, correct)


@pytest.mark.parametrize(("level", "steps"), [("easy", {2, 3}), ("middle", {4, 5}), ("hard", {6, 7, 8})])
def test_rows_of_a_level(level: chain.Level, steps: set[int]) -> None:
    rows = chain.chains(80, level=level, seed=4)
    assert rows == chain.chains(80, level=level, seed=4)
    assert rows != chain.chains(80, level=level, seed=5)
    assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == 80
    assert {row["steps"] for row in rows} == steps
    for row in rows:
        assert list(row) == ["prompt", "answer", "id", "steps", "level"]
        assert row["level"] == level
        assert len(row["prompt"]) == 2 * row["steps"] + 2
        assert int(row["answer"]) == by_python(row["prompt"][:-1]) % 10


def test_rows_of_a_number_of_steps() -> None:
    assert {(row["steps"], row["level"]) for row in chain.chains(20, steps=5, seed=0)} == {(5, "middle")}


def test_splits_share_no_chain_under_any_seed() -> None:
    train, held_out = (
        {row["prompt"] for seed in (0, 1) for row in chain.chains(900, steps=2, seed=seed, split=split)}
        for split in ("train", "eval")
    )
    assert train.isdisjoint(held_out)
    assert len(train) > 900, "two seeds draw different chains"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": None}, "level is None and steps is None; give one of the two"),
        ({"steps": 2}, "level is 'easy' and steps is 2; give one of the two"),
        ({"level": "long"}, "level is 'long'; expected one of easy, middle, hard"),
        ({"level": None, "steps": 9}, "steps is 9; expected 2 to 8"),
        ({"n": 0}, "n is 0; ask for at least 1 prompt"),
        ({"split": "test"}, "split is 'test'; expected 'train' or 'eval'"),
        ({"level": None, "steps": 2, "n": 4000}, r"n is 4000, but only 2\d+ train prompts were found; ask for .*"),
    ],
)
def test_bad_requests_say_what_to_do(change: dict[str, Any], message: str) -> None:
    request: dict[str, Any] = {"n": 3, "level": "easy", "seed": 0} | change
    with pytest.raises(ValueError, match=f"^{message}$"):
        chain.chains(**request)


@pytest.mark.parametrize("prompt", ["", "7=", "7+5", "77+5=", "7*5=", "-7+5="])
def test_what_is_no_chain_is_an_error(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"expected a chain such as '7\+5-3='"):
        chain.partial_sums(prompt)
