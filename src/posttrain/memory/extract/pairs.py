"""States that `key: value` lines, headers and their lists tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from posttrain.memory.extract import prose
from posttrain.memory.extract.phrase import nothing, place_of, thing
from posttrain.memory.extract.records import key_of
from posttrain.memory.extract.said import AGENT, CARRIED, PLACE, STATE, WORDY, Named, Said, name_of, value_of
from posttrain.memory.extract.words import CARRY, EXITS, HOLDS, PLACES, STATES, STATUS, vocabulary

PAIR = re.compile(
    r"\s*(?:[-*•]\s+)?(?P<key>[^\W\d_](?:[^:=\n.!?;|]|\.(?=\w)){0,59}?)"
    r"\s*(?::(?=\s|$)|=(?!=))\s*(?P<value>[^\n]*?)\s*$"
)
BULLET = re.compile(r"\s*(?:[-*•]|\d{1,3}[.)])\s+(?=\S)")
_SPLIT = re.compile(r"\s*(?:\||;|,)\s*(?=[^\W\d_][\w ]{0,30}:\s)")
_IN = re.compile(r"(?:in|on|inside|under|at|within)\s+(?P<place>.+)", re.IGNORECASE)
_SEE = re.compile(
    r"(?:you\s+(?:can\s+)?(?:also\s+)?see|you\s+(?:notice|spot)|you see here|things here|items here"
    r"|visible (?:objects|items|things))$",
    re.IGNORECASE,
)
_CARRY = re.compile(r"(?:you\s+(?:are|have|carry)|you're)\s*(?:carrying|holding)?$", re.IGNORECASE)
_CONTENTS = re.compile(
    r"(?:contents of\s+)(?P<of>.+)|(?P<has>.+?)(?:'s)?\s+(?:contents|contains|holds)$", re.IGNORECASE
)
_OF = re.compile(r"(?P<attribute>[a-z][\w ]{0,30}?)\s+of\s+(?:the\s+)?(?P<entity>.+)", re.IGNORECASE)
_OWN = re.compile(r"(?P<entity>.+?)'s?\s+(?P<attribute>[a-z][\w ]{0,30})", re.IGNORECASE)
_QUIET = vocabulary(
    "note hint tip warning task goal thought reason message output result error step action observation http https "
    "example usage description info help question answer analysis summary"
)


class Header(NamedTuple):
    """What the lines under a header are about."""

    kind: str
    """`list` of things in a place, `exits`, or `entity` whose states follow."""
    name: str
    """The place or the entity."""
    named: tuple[int, int]


def header(text: str, start: int, end: int) -> Header | None:
    """What a line that ends with a colon opens."""
    key = name_of(text[start:end])
    word = key_of(key)
    span = (start, end)
    if word in CARRY or _CARRY.match(key):
        return Header("list", CARRIED, span)
    if word in EXITS:
        return Header("exits", "", span)
    if word in HOLDS or _SEE.match(key):
        return Header("list", prose.HERE, span)
    if where := _IN.match(text, start, end):
        it = thing(text, *where.span("place"))
        return Header("list", place_of(it.name), (it.start, it.end)) if it else None
    if holds := _CONTENTS.fullmatch(text, start, end):
        it = thing(text, *holds.span(holds.lastgroup or 0))
        return Header("list", it.name, (it.start, it.end)) if it else None
    it = thing(text, start, end)
    return Header("entity", it.name, (it.start, it.end)) if it and it.name.count(" ") < 4 else None


def pairs(text: str, start: int, end: int, owner: Header | None) -> Iterator[Said | Named]:
    """The states of a line of one or more `key: value`; nothing if it is none."""
    at = start
    for cut in _SPLIT.finditer(text, start, end):
        yield from _pair(text, at, cut.start(), owner)
        at = cut.end()
    yield from _pair(text, at, end, owner)


def _pair(text: str, start: int, end: int, owner: Header | None) -> Iterator[Said | Named]:
    found = PAIR.match(text, start, end)
    if not found or not found["value"]:
        return
    key, value = found.span("key"), found.span("value")
    word = key_of(name_of(found["key"]))
    opened = header(text, *key)
    if word in PLACES and value[1] - value[0] <= WORDY:
        if it := thing(text, *value):
            entity, named = (owner.name, owner.named) if owner and owner.kind == "entity" else (AGENT, key)
            yield Said(entity, PLACE, place_of(it.name), it.start, it.end, named)
    elif word in EXITS:
        yield from prose.exits(text, *value)
    elif opened and opened.kind == "list":
        place = opened.name
        if owner and owner.kind == "entity" and place == prose.HERE:
            place = owner.name
        yield from prose.located(text, *value, place, opened.named)
    elif word not in _QUIET:
        yield from _state(text, key, value, word, owner)


def _state(
    text: str, key: tuple[int, int], value: tuple[int, int], word: str, owner: Header | None
) -> Iterator[Said | Named]:
    """`score: 6`, `chest: locked`, `label of the box: K-1`, or an attribute of the entity of the header above."""
    said = text[slice(*value)]
    if said.endswith(".") and said.count(" ") > 6:
        return
    if of := _OF.fullmatch(text, *key) or _OWN.fullmatch(text, *key):
        it = thing(text, *of.span("entity"))
        if it:
            attribute = STATE if of["attribute"].lower() in STATUS else of["attribute"].lower()
            yield Said(it.name, attribute, value_of(said), *value, (it.start, it.end))
        return
    if owner and owner.kind == "entity":
        yield Said(
            owner.name, STATE if word in STATUS else name_of(text[slice(*key)]), value_of(said), *value, owner.named
        )
        return
    it = thing(text, *key)
    if it is None or nothing(text, *key):
        return
    first = name_of(said).partition(",")[0].partition(" ")[0]
    yield Said(
        it.name,
        STATE if first in STATES and said.count(" ") < 4 else "value",
        value_of(said),
        *value,
        (it.start, it.end),
    )
