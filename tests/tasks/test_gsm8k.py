"""GSM8K's rows: prompts, answers and how they are judged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from posttrain.tasks.dataset import DatasetError
from posttrain.tasks.gsm8k import INSTRUCTION, rows
from posttrain.tasks.verifiers import MathVerify, numeric

DATA = Path(os.environ.get("POSTTRAIN_DATA", "../shared/data")) / "gsm8k"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no directory at {DATA}; set POSTTRAIN_DATA")

PROBLEMS = [
    {"question": "Ann has 3 boxes of 4 pens. How many?", "answer": "3*4 = <<3*4=12>>12 pens.\n#### 12"},
    {"question": "What is half of 3000?", "answer": "It is #### of course\n#### 1,500"},
    {"question": "Ben had 2 and lost 5. What is left?", "answer": "2-5 = -3\n#### -3", "id": "ben"},
]


def written(path: Path, problems: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return path


def test_three_rows(tmp_path: Path) -> None:
    found = rows(written(tmp_path / "three.jsonl", PROBLEMS))
    assert [row["answer"] for row in found] == ["12", "1500", "-3"]
    assert [row["prompt"] for row in found] == [f"{p['question']}\n\n{INSTRUCTION}" for p in PROBLEMS]
    assert found[2]["id"] == "ben"
    assert len({row["id"] for row in found}) == 3
    assert [list(row) for row in found] == [["prompt", "answer", "id"]] * 3


def test_no_solution_reaches_the_prompt(tmp_path: Path) -> None:
    secret = {"question": "What is 1 + 1?", "answer": "One and one is twice one.\n#### 2"}
    (row,) = rows(written(tmp_path / "one.jsonl", [secret]))
    assert "twice" not in json.dumps(row)


@pytest.mark.parametrize("answer", ["just 12", "####", "12 ####  "])
def test_a_solution_without_an_answer_names_its_problem(tmp_path: Path, answer: str) -> None:
    broken = [PROBLEMS[0], {"question": "What?", "answer": answer}]
    with pytest.raises(DatasetError, match=r"problem 2: the answer has no number after '####'; give GSM8K's own"):
        rows(written(tmp_path / "broken.jsonl", broken))


def test_a_file_of_another_kind_says_which_columns_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no column 'question'"):
        rows(written(tmp_path / "other.jsonl", [{"prompt": "What?", "answer": "#### 1"}]))


def test_a_boxed_answer_is_judged_by_the_math_verifier(tmp_path: Path) -> None:
    found = rows(written(tmp_path / "three.jsonl", PROBLEMS))
    with MathVerify() as verify:
        for row, value in zip(found, (12, 1500, -3), strict=True):
            assert verify(rf"So there are \boxed{{{value}}} of them.", row["answer"]).correct == 1.0
            assert verify(rf"{value} or \boxed{{{value + 1}}}.", row["answer"]).correct == 0.0


@needs_data
def test_real_problems() -> None:
    """Every answer is a whole number, and the worked solution ends in it."""
    for name, count in (("train_0_1000.jsonl", 1000), ("test_250_650.jsonl", 400)):
        raw = [json.loads(line) for line in (DATA / name).read_text().splitlines()]
        found = rows(DATA / name)
        assert len(found) == len(raw) == count
        for row, problem in zip(found, raw, strict=True):
            assert row["prompt"].startswith(problem["question"])
            assert int(row["answer"]) == int(problem["answer"].splitlines()[-1].removeprefix("#### ").replace(",", ""))
            assert numeric(problem["answer"], row["answer"]).correct == 1.0
