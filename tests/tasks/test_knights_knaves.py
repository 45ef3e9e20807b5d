"""Knights and knaves: generator, compact language, verdicts."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.tasks import knights_knaves as kk

DATA = Path(os.environ.get("POSTTRAIN_DATA", "../shared/data")) / "kk_reasoning_gym/knights_knaves.jsonl"
needs_data = pytest.mark.skipif(not DATA.is_file(), reason=f"no file at {DATA}; set POSTTRAIN_DATA")
ENGLISH = "Zoey is a fool, and Riley is a sage."

people = st.integers(2, 8)


def says(statement: kk.Statement, roles: tuple[bool, ...]) -> bool:
    """Is the statement true? Written from the rules alone, one assignment at a time."""
    operator, *rest = statement
    match operator:
        case "telling-truth":
            return roles[rest[0]]
        case "lying":
            return not roles[rest[0]]
        case "not":
            return not says(rest[0], roles)
        case "and":
            return all(says(part, roles) for part in rest)
        case "or":
            return any(says(part, roles) for part in rest)
        case "->":
            return says(rest[1], roles) if says(rest[0], roles) else True
        case "<=>":
            return says(rest[0], roles) == says(rest[1], roles)
    raise AssertionError(operator)


def reads(tokens: Iterator[str], roles: tuple[bool, ...]) -> bool:
    """Is a compact statement true? Reads Polish notation from left to right."""
    token = next(tokens)
    if token.isalpha():
        return roles[kk.NAMES.index(token.upper())] == token.isupper()
    first, second = reads(tokens, roles), reads(tokens, roles)
    return {"&": first and second, "|": first or second, ">": not first or second, "~": first == second}[token]


def brute_force(statements: tuple[kk.Statement, ...]) -> list[tuple[bool, ...]]:
    everyone = itertools.product((True, False), repeat=len(statements))
    return [r for r in everyone if all(says(s, r) == r[i] for i, s in enumerate(statements))]


@cache
def drawn(people: int, depth: int, width: int) -> list[kk.Puzzle]:
    return kk.sample(25, people=people, seed=people, depth=depth, width=width)


def pick(key: tuple[int, int, int, int]) -> kk.Puzzle:
    return drawn(*key[:3])[key[3]]


keys = st.tuples(people, st.integers(2, 3), st.integers(2, 3), st.integers(0, 24))


@given(keys)
@settings(max_examples=60, deadline=None)
def test_one_solution_by_brute_force(key: tuple[int, int, int, int]) -> None:
    p = pick(key)
    assert brute_force(p.statements) == [p.solution] == kk.solutions(p.statements)


@given(keys)
@settings(max_examples=60, deadline=None)
def test_compact_prompt_means_the_same(key: tuple[int, int, int, int]) -> None:
    p = pick(key)
    claims = [part.split(":")[1] for part in kk.compact_prompt(p.statements).rstrip("?").split(";")]
    for roles in itertools.product((True, False), repeat=len(p.statements)):
        for claim, statement in zip(claims, p.statements, strict=True):
            tokens = iter(claim)
            assert reads(tokens, roles) == says(statement, roles)
            assert next(tokens, None) is None


@given(keys)
@settings(max_examples=60, deadline=None)
def test_trace_judges_every_candidate_and_only_the_solution_passes(key: tuple[int, int, int, int]) -> None:
    p = pick(key)
    trace = kk.compact_trace(p.statements, p.solution)
    answer = trace.rpartition("=")[2]
    assert set(trace + kk.compact_prompt(p.statements)) <= set(kk.COMPACT_TOKENS)
    everyone = list(itertools.product((True, False), repeat=len(p.statements)))
    assert trace.count("-") == everyone.index(p.solution)
    for roles in everyone:
        letters = "".join(n if r else n.lower() for n, r in zip(kk.NAMES, roles, strict=False))
        right = float(roles == p.solution)
        assert kk.compact_verdict(trace, letters) == (right, right)
        assert kk.logic_rl_verdict(trace, letters) == ((3.0, 1.0) if right else (-0.5, 0.0))
    assert kk.compact_verdict(f"={answer}", answer).correct == 1.0


def test_worked_example() -> None:
    """A: "B is a knave". B: "A or B is a knight". Were A a knight, the knave B would have told the truth."""
    statements = (("lying", 1), ("or", ("telling-truth", 0), ("telling-truth", 1)))
    assert kk.solutions(statements) == [(False, True)]
    assert kk.compact_prompt(statements) == "A:b;B:|AB?"
    assert kk.compact_trace(statements, (False, True)) == "AB-Ab+-aB++=aB"
    with pytest.raises(ValueError, match=r"^solution is .*; pass the first solution$"):
        kk.compact_trace(statements, (True, True))


def test_negation_is_pushed_inside() -> None:
    a, b = ("telling-truth", 0), ("lying", 1)
    for operator, expected in (("and", "|aB"), ("or", "&aB"), ("->", "&AB"), ("<=>", "~AB")):
        assert kk.compact_prompt((("not", (operator, a, b)),)) == f"A:{expected}?"
    assert kk.compact_prompt((("and", a, b, ("lying", 2)),)) == "A:&&Abc?"


def test_same_arguments_same_rows_and_no_prompt_twice() -> None:
    for form in ("english", "compact"):
        rows = kk.puzzles(60, people=3, seed=4, form=form)
        assert rows == kk.puzzles(60, people=3, seed=4, form=form)
        assert rows != kk.puzzles(60, people=3, seed=5, form=form)
        assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == 60
        assert list(rows[0]) == ["prompt", "answer", "id", "people"]


def test_english_rows_ask_the_same_puzzles_as_compact_ones() -> None:
    english = kk.puzzles(40, people=4, seed=1, form="english")
    for e, c in zip(english, kk.puzzles(40, people=4, seed=1), strict=True):
        assert e["answer"].count(" is a") == len(c["answer"]) == 4
        assert kk.english_verdict(e["answer"], e["answer"]).correct == 1.0


def test_splits_share_no_puzzle_under_any_seed() -> None:
    train = {row["prompt"] for seed in (0, 1) for row in kk.puzzles(150, people=2, seed=seed)}
    held_out = {row["prompt"] for seed in (0, 1) for row in kk.puzzles(100, people=2, seed=seed, split="eval")}
    assert train.isdisjoint(held_out)


@given(keys)
@settings(max_examples=30, deadline=None)
def test_swapping_operands_keeps_the_split(key: tuple[int, int, int, int]) -> None:
    p = pick(key)

    def swap(s: kk.Statement) -> kk.Statement:
        parts = [swap(part) if isinstance(part, tuple) else part for part in s[1:]]
        return (s[0], *(parts[::-1] if s[0] in ("and", "or", "<=>") else parts))

    assert kk.split_of(tuple(swap(s) for s in p.statements)) == kk.split_of(p.statements)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"people": 1}, "people is 1; expected 2 to 8"),
        ({"people": 9}, "people is 9; expected 2 to 8"),
        ({"n": 0}, "n is 0; ask for at least 1 puzzle"),
        ({"form": "latin"}, "form is 'latin'; expected 'english' or 'compact'"),
        ({"split": "test"}, "split is 'test'; expected 'train' or 'eval'"),
        ({"width": 4}, "depth is 2 and width 4; expected depth >= 1 and a width of 2 or 3"),
    ],
)
def test_bad_requests_say_what_to_do(change: dict[str, Any], message: str) -> None:
    request: dict[str, Any] = {"n": 3, "people": 2, "seed": 0} | change
    with pytest.raises(ValueError, match=f"^{message}$"):
        kk.puzzles(**request)


def test_two_people_have_a_finite_pool() -> None:
    with pytest.raises(ValueError, match=r"^n is 9999, but only \d+ eval puzzles .*; ask for at most that many"):
        kk.puzzles(9999, people=2, seed=0, split="eval")


def test_missing_generator_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym.logic.knights_knaves", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'posttrain\[tasks\]'"):
        kk.puzzles(1, people=2, seed=0)


@pytest.mark.parametrize(
    ("completion", "reward", "correct"),
    [
        ("AB-Ab+-aB++=aB", 3.0, 1.0),
        ("aB++=aB", 3.0, 1.0),
        ("AB-Ab++=Ab", -0.5, 0.0),
        ("aB++=aB=Ab", -3.0, 0.0),
        ("aB++=aBC", -3.0, 0.0),
        ("aB+=aB", -3.0, 0.0),
        ("AB-Ab+-=aB", -3.0, 0.0),
        ("=aB", -3.0, 0.0),
        ("aB", -3.0, 0.0),
        ("", -3.0, 0.0),
    ],
)
def test_logic_rl_totals_compact(completion: str, reward: float, correct: float) -> None:
    assert kk.logic_rl_verdict(completion, "aB") == (reward, correct)


@pytest.mark.parametrize(
    ("completion", "reward", "correct"),
    [
        (f"<think>hm</think><answer>{ENGLISH}</answer>", 3.0, 1.0),
        ("<think></think>\n<answer>(1) Riley is a sage (2) Zoey is a fool</answer>", 3.0, 1.0),
        ("<think>hm</think><answer>Zoey is a fool, Riley is a fool</answer>", -0.5, 0.0),
        ("<think>hm</think><answer>Zoey is a fool</answer>", -1.0, 0.0),
        (f"<think>hm</think><answer>{ENGLISH} Riley is a fool.</answer>", -1.0, 0.0),
        ("<think>hm</think><answer>I cannot tell</answer>", -1.0, 0.0),
        (f"<answer>{ENGLISH}</answer>", -3.0, 0.0),
        (f"<answer>{ENGLISH}</answer><think>hm</think>", -3.0, 0.0),
        (f"<think>hm</think><answer>{ENGLISH}</answer><answer>{ENGLISH}</answer>", -3.0, 0.0),
        (ENGLISH, -3.0, 0.0),
    ],
)
def test_logic_rl_totals_english(completion: str, reward: float, correct: float) -> None:
    assert kk.logic_rl_verdict(completion, ENGLISH, form="english") == (reward, correct)


@pytest.mark.parametrize(
    ("completion", "correct"),
    [
        (ENGLISH, 1.0),
        ("riley is A SAGE and zoey is a fool", 1.0),
        ("Zoey is a sage, and Riley is a sage. No: Zoey is a fool, and Riley is a sage.", 1.0),
        ("Zoey is a fool, and Riley is a sage. No: Zoey is a sage, and Riley is a sage.", 0.0),
        (f"<answer>{ENGLISH}</answer> or else Zoey is a sage", 1.0),
        (f"{ENGLISH} <answer>Zoey is a fool, and Riley is a fool</answer>", 0.0),
        (f"<answer>{ENGLISH} Or Zoey is a sage.</answer>", 0.0),
        ("Zoey is a sage/fool, and Riley is a sage/fool", 0.0),
        ("Zoey is a fool", 0.0),
        (f"{ENGLISH} Ava is a sage.", 0.0),
        ("Zoey is not a sage, and Riley is a sage.", 0.0),
        ("", 0.0),
    ],
)
def test_english_verdict(completion: str, correct: float) -> None:
    assert kk.english_verdict(completion, ENGLISH) == (correct, correct)


def test_an_answer_without_roles_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^answer is 'aB'; expected roles"):
        kk.english_verdict(ENGLISH, "aB")
    with pytest.raises(ValueError, match="form is 'latin'"):
        kk.logic_rl_verdict("", "aB", form="latin")  # pyright: ignore[reportArgumentType]


@needs_data
def test_real_rows_are_solved_and_scored() -> None:
    """Every row's solution is ours; its answer is right, and wrong once any one role is flipped."""
    for line in DATA.read_text().splitlines():
        row = json.loads(line)
        statements = tuple(nested(s) for s in row["statements"])
        assert kk.solutions(statements) == [tuple(row["solution"])]
        assert kk.english_verdict(row["answer"], row["answer"]).correct == 1.0
        assert kk.english_verdict(row["question"], row["answer"]).correct == 0.0
        roles = (row["terms"]["a_knave"], row["terms"]["a_knight"])
        for name, knight in zip(row["names"], row["solution"], strict=True):
            flipped = row["answer"].replace(f"{name} is {roles[knight]}", f"{name} is {roles[not knight]}")
            assert flipped != row["answer"]
            assert kk.english_verdict(flipped, row["answer"]).correct == 0.0


def nested(value: Any) -> Any:
    return tuple(nested(part) for part in value) if isinstance(value, list) else value
