"""AMA-Bench's episodes from the released file (a line each) or from the project's site (a file each).

A memory is given a run's number, turn numbers, actions and observations, and nothing else: `Episode.turns`. The task
text is for readers; domain, type and the questions' answers are for scoring.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from posttrain.bench.ama.log import KINDS
from posttrain.memory.rows import Turn

DOMAINS: Mapping[str, str] = {
    "text2sql": "sql",
    "openworldqa": "qa",
    "openworldquestionanswering": "qa",
    "web": "web",
    "webtaskexecution": "web",
    "game": "game",
    "gaming": "game",
    "embodiedai": "embodied",
    "software": "software",
    "softwareengineering": "software",
}
"""The labels of both formats, letters and digits only, to one name; other labels stay as they are."""

PLACEHOLDER = "\u2014"
"""The site's mark for an action that is empty in the released file."""


@dataclass(frozen=True)
class Question:
    """A question about an episode, with its reference."""

    question: str
    answer: str
    type: str
    """A, B, C or D; see `KINDS`."""


@dataclass(frozen=True)
class Episode:
    """A trajectory with its questions."""

    name: str
    """Task type and number, or the number alone."""
    task: str
    domain: str
    turns: tuple[Turn, ...]
    """In order."""
    questions: tuple[Question, ...]


def load(path: Path) -> list[Episode]:
    """Episodes of a file, or of all `.jsonl` and `.json` files of a folder, in name order.

    Raises:
        ValueError: There is no episode, or one has another form; the sentence says where and what was expected.
    """
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix in (".jsonl", ".json"))
    elif path.is_file():
        files = [path]
    else:
        raise ValueError(f"There is nothing at {path}; give AMA-Bench's JSONL file, or a folder with its JSON files.")
    found = [episode for file in files for episode in _read(file)]
    if not found:
        raise ValueError(f"{path} holds no episode; give AMA-Bench's JSONL file, or a folder with its JSON files.")
    if twice := [name for name, count in Counter(each.name for each in found).items() if count > 1]:
        raise ValueError(f"{path} holds the episode {min(twice)} more than once; leave one of its files out.")
    return found


def _read(file: Path) -> Iterator[Episode]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        yield _episode(_json(text, str(file)), str(file), file.stem)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{file}, line {number},"
            yield _episode(_json(line, where), where, "")


def _json(text: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON ({error}); download it again.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no JSON object; an episode has the fields task, trajectory and qa_pairs.")
    return value


def _episode(raw: Mapping[str, Any], where: str, name: str) -> Episode:
    number = raw.get("episode_id")
    if not isinstance(number, str | int):
        raise ValueError(f"{where} has episode_id={number!r}; expected the episode's number.")
    kind = raw.get("task_type")
    run = name or (f"{kind}-{number}" if kind else str(number))
    turns = tuple(_turn(each, run, where) for each in _list(raw, "trajectory", where))
    if any(after.turn <= before.turn for before, after in pairwise(turns)):
        raise ValueError(f"{where} has turns out of order or twice; turn_idx must rise.")
    questions = tuple(_question(each, where) for each in _list(raw, "qa_pairs", where))
    domain = _text(raw, "domain", where)
    known = DOMAINS.get("".join(filter(str.isalnum, domain)).lower(), domain)
    return Episode(run, _text(raw, "task", where), known, turns, questions)


def _turn(raw: Any, run: str, where: str) -> Turn:
    number = raw.get("turn_idx") if isinstance(raw, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"{where} has a turn with turn_idx={number!r}; expected a number from 0.")
    action, observation = (
        _text(raw, field, f"{where} turn {number}", empty=True) for field in ("action", "observation")
    )
    return Turn(run, number, "" if action == PLACEHOLDER else action, observation)


def _question(raw: Any, where: str) -> Question:
    if not isinstance(raw, dict):
        raise ValueError(f"{where} has a question that is no object; it has the fields question, answer and type.")
    question, answer, kind = (_text(raw, field, where) for field in ("question", "answer", "type"))
    if kind not in KINDS:
        raise ValueError(f"{where} has a question of type {kind!r}; expected one of {', '.join(KINDS)}.")
    return Question(question, answer, kind)


def _list(raw: Mapping[str, Any], field: str, where: str) -> list[Any]:
    value = raw.get(field)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where} has no list `{field}`; expected at least one entry.")
    return value


def _text(raw: Mapping[str, Any], field: str, where: str, *, empty: bool = False) -> str:
    """A field's text; None is an empty one where that is allowed."""
    value = raw.get(field)
    if value is None and empty:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{where} has {field}={value!r:.60}; expected a text.")
    return value
