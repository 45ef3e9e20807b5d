"""Noun phrases: what a stretch of prose names, and lists of things with their states."""

from __future__ import annotations

import re
from typing import NamedTuple

from posttrain.memory.extract.said import CARRIED, WORDY, name_of
from posttrain.memory.extract.words import ADJECTIVES, CARRY, NOTHING, vocabulary

_LEFT = re.compile(
    r"[\s\"'`“‘(\[*_]*(?:(?:an?|the|some|your|my|this|that|its|another|any)\s+(?=\S))?[\"'`“‘*_]*", re.IGNORECASE
)
_PARTS = re.compile(r"\s*(?:;|,(?!\d)(?:\s*and\s+)?|\s+and\s+)\s*", re.IGNORECASE)
_AFTER = re.compile(
    r"\s+(?:(?:right\s+)?(?:there|here|nearby)(?:\s+by\s+you)?|on the (?:floor|ground)|in the (?:room|corner)"
    r"|(?:that|which) (?:is|are)\s.*"
    r"|leading\s.*|to the (?:north|south|east|west)\S*)$",
    re.IGNORECASE,
)
_BRACKET = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]\s*$")
_PRONOUNS = vocabulary("it they them this that he she one there you i we what which who these those everything")
_TRAIL = " \t.,;:!?\"'`”’*_)]"


class Thing(NamedTuple):
    """A thing in a text, with the state that is told with it."""

    name: str
    start: int
    end: int
    state: tuple[int, int] | None = None
    """The characters of its state."""


def place_of(name: str) -> str:
    """The place that a name stands for: what is in the agent's hands or bag is carried."""
    return CARRIED if name in CARRY else name


def thing(text: str, start: int, end: int) -> Thing | None:
    """What the characters from `start` to `end` name; None where that is no name."""
    left = _LEFT.match(text, start, end)
    start = left.end() if left else start
    while end > start and text[end - 1] in _TRAIL:
        end -= 1
    if not 0 < end - start <= WORDY:
        return None
    name = name_of(text[start:end])
    if name in _PRONOUNS or name in NOTHING or name.count(" ") > 7:
        return None
    return Thing(name, start, end)


def stated(text: str, start: int, end: int) -> Thing | None:
    """As `thing`, with a state before the noun or in brackets behind it."""
    state = None
    while end > start and text[end - 1] in " .,;:!?":
        end -= 1
    bracket = _BRACKET.search(text, start, end) if text.endswith((")", "]"), start, end) else None
    if bracket and bracket.start() > start:
        state, end = bracket.span(1), bracket.start()
    if after := _AFTER.search(text, start, end):
        end = after.start()
    found = thing(text, start, end)
    if found is None:
        return None
    first, _, rest = found.name.partition(" ")
    if state is None and rest and first in ADJECTIVES:
        cut = found.start + len(text[found.start : found.end].split(None, 1)[0])
        inner = thing(text, cut, found.end)
        return Thing(inner.name, inner.start, inner.end, (found.start, cut)) if inner else None
    return Thing(found.name, found.start, found.end, state)


def things(text: str, start: int, end: int) -> list[Thing]:
    """The things of a list such as `a lamp, a chest (closed) and two keys`."""
    found, at = [], start
    for cut in _PARTS.finditer(text, start, end):
        if text.count("(", at, cut.start()) > text.count(")", at, cut.start()):
            continue
        found.append(stated(text, at, cut.start()))
        at = cut.end()
    found.append(stated(text, at, end))
    return [each for each in found if each]


def nothing(text: str, start: int, end: int) -> bool:
    """Whether a list says that there is nothing."""
    return text[start:end].strip(_TRAIL).casefold().partition(" ")[0] in NOTHING
