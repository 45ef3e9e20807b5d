"""Utility in many languages: MGSM, sums in words, whose answers need no judge.

Its files are `mgsm_LANGUAGE....tsv`, a question, a tab and a whole number a line. Any task of the lm-evaluation-harness
reads an edited folder as it reads every model (`--model_args pretrained=edited/`, or `peft=adapter/`).
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from posttrain.chat import Chat
from posttrain.stats import Interval, wilson
from posttrain.tasks.verifiers import numeric

INSTRUCTION = "\n\nThink step by step. End with the answer as a number alone."
_LANGUAGE = re.compile(r"mgsm_([a-z]{2,3})(?![a-z])")


class Problem(NamedTuple):
    """One question."""

    language: str
    question: str
    answer: str


def mgsm(path: str | Path, most: int | None = None) -> list[Problem]:
    """The problems of a file, the first so many of them.

    Raises:
        ValueError: It is not there, or a line is no problem.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a file of MGSM, such as mgsm_bn.tsv.")
    told = _LANGUAGE.search(path.name)
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        question, tab, answer = line.rpartition("\t")
        if not tab or not re.fullmatch(r"-?[\d,.]+", answer.strip()):
            raise ValueError(f"{path}, line {number}: expected a question, a tab and a number.")
        found.append(Problem(told[1] if told else path.stem, question, answer.strip()))
    return found[:most]


async def solved(
    chat: Chat, problems: Sequence[Problem], *, max_tokens: int = 512, at_once: int = 8
) -> dict[str, Interval]:
    """The share of problems that a model solves, by language; it answers greedily.

    Args:
        chat: The model.
        problems: See `mgsm`.
        max_tokens: Of an answer.
        at_once: Calls that are made at the same time.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(problem: Problem) -> bool:
        asked = [{"role": "user", "content": problem.question + INSTRUCTION}]
        async with gate:
            said = (await chat(asked, temperature=0.0, max_tokens=max_tokens)).text
        return numeric(in_ascii(said), problem.answer).correct == 1

    right = await asyncio.gather(*map(one, problems))
    by: dict[str, list[bool]] = {}
    for problem, each in zip(problems, right, strict=True):
        by.setdefault(problem.language, []).append(each)
    return {language: wilson(sum(each), len(each)) for language, each in by.items()}


def in_ascii(text: str) -> str:
    """A text with the digits of every script as 0 to 9."""
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
