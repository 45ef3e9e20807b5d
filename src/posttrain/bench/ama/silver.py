"""Silver evidence for questions without labels: the turns that a question and its reference answer cite by number.

`all` is what either cites; `new` is what the answer cites and the question does not, the honest part, since a rule
that looks up the question's own numbers finds the rest. Ranges are expanded; only turns that exist count.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.bench.ama.data import Episode
from posttrain.files import write_json

_NUMBER = r"(?:(?:steps?|turns?)\s*\#?\s*)?\d{1,6}(?![\d.]*\d)"
_RANGE = rf"{_NUMBER}(?:\s*(?:-|\u2010|\u2011|\u2012|\u2013|\u2014|\u2212|to|through|until)\s*{_NUMBER})?"
_JOIN = r"\s*(?:,\s*and|,\s*or|,|/|&|and|or|\u2192|->)\s*"
_LIST = re.compile(rf"\b(?=(?:steps?|turns?)\b){_RANGE}(?:{_JOIN}{_RANGE})*", re.I)
_ITEM = re.compile(_RANGE, re.I)
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Silver:
    """What one question's evidence is taken to be."""

    episode: str
    index: int
    """Of the question in its episode."""
    type: str
    domain: str
    all: tuple[int, ...]
    """Cited by question or answer."""
    new: tuple[int, ...]
    """Cited by the answer only."""


def cited(text: str, exist: Collection[int]) -> set[int]:
    """The turns of a run that a text cites, such as `step 12`, `steps 3-7` or `turns 3, 5 and 9`."""
    return {turn for first, last in _ranges(text) for turn in range(first, last + 1) if turn in exist}


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for found in _LIST.finditer(text):
        for item in _ITEM.finditer(found.group()):
            ends = [int(each) for each in _DIGITS.findall(item.group())]
            yield ends[0], max(ends[0], min(ends[-1], ends[0] + 100_000))


def silver(episode: Episode) -> list[Silver]:
    """The silver evidence of an episode's questions; those whose texts cite no turn are left out."""
    exist = {turn.turn for turn in episode.turns}
    found = []
    for index, each in enumerate(episode.questions):
        asked, told = cited(each.question, exist), cited(each.answer, exist)
        if asked or told:
            every, new = tuple(sorted(asked | told)), tuple(sorted(told - asked))
            found.append(Silver(episode.name, index, each.type, episode.domain, every, new))
    return found


def write(episodes: Sequence[Episode], path: Path) -> dict[str, Any]:
    """Write the silver evidence of all episodes as JSON: numbers only, none of the data's text.

    Returns:
        What was written.
    """
    labels = [label for episode in episodes for label in silver(episode)]
    record = {
        "episodes": len(episodes),
        "questions": sum(len(each.questions) for each in episodes),
        "labelled": len(labels),
        "with_new": sum(bool(each.new) for each in labels),
        "mean_turns": sum(len(each.all) for each in labels) / max(1, len(labels)),
        "labels": [
            {"episode": each.episode, "question": each.index, "type": each.type, "all": each.all, "new": each.new}
            for each in labels
        ],
    }
    write_json(path, record)
    return record
