"""States that tables tell: Markdown and box tables, CSV and TSV. A row is about what its naming column says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

from posttrain.memory.extract.literal import Fields, Value
from posttrain.memory.extract.records import key_of, told
from posttrain.memory.extract.said import PLACE, STATE, WORDY, Named, Said, name_of, value_of
from posttrain.memory.extract.words import DIRECTIONS, NAMES, PLACES, STATUS

ROWS = 100
"""At most so many rows of a table are read."""

_RULE = re.compile(r"[\s|+:\-=─━┼├┤┬┴┌┐└┘│╞╪╡╒╤╕╘╧╛]+$")
_BARS = re.compile(r"[|│┃]")
Cell: TypeAlias = tuple[int, int]
"""First character and one beyond the last."""


def is_rule(line: str) -> bool:
    """Whether a line only draws."""
    return bool(_RULE.match(line))


def cells(text: str, start: int, end: int, mark: str) -> list[Cell]:
    """The cells of a row, without spaces around them; `mark` is `|`, a comma or a tab."""
    if mark == "|":
        cuts = [m.start() for m in _BARS.finditer(text, start, end)]
        edges = cuts if cuts and not text[start : cuts[0]].strip() else [start - 1, *cuts]
        if cuts and text[cuts[-1] + 1 : end].strip():
            edges = [*edges, end]
        spans = [(a + 1, b) for a, b in pairwise(edges)]
    else:
        spans = _separated(text, start, end, mark)
    return [_bare(text, *span) for span in spans]


def _separated(text: str, start: int, end: int, mark: str) -> list[Cell]:
    spans, at, quoted = [], start, False
    for place in range(start, end):
        if text[place] == '"':
            quoted = not quoted
        elif text[place] == mark and not quoted:
            spans.append((at, place))
            at = place + 1
    return [*spans, (at, end)]


def _bare(text: str, start: int, end: int) -> Cell:
    while start < end and text[start] in " \t*`":
        start += 1
    while end > start and text[end - 1] in " \t\r*`":
        end -= 1
    if end - start > 1 and text[start] == text[end - 1] == '"':
        return start + 1, end - 1
    return start, end


def rows(text: str, head: Sequence[Cell], body: Sequence[Sequence[Cell]]) -> Iterator[Said | Named]:
    """The states of a table."""
    names = [text[a:b] for a, b in head]
    words = [key_of(name) for name in names]
    ways = bool(words) and words[0] in ("exit", "direction", "way", "dir")
    column = 0 if ways else _naming(text, words, body)
    for a, b in head:
        if 1 < b - a <= WORDY and text[a].isalpha():
            yield Named(name_of(text[a:b]), a, b)
    if column is None:
        for row in body[:ROWS]:
            yield from _only_named(text, row)
        return
    for row in body[:ROWS]:
        if len(row) > len(head) or column >= len(row) or row[column][0] == row[column][1]:
            continue
        if ways:
            pairs = [
                (Value(name, *cell), Value(text[slice(*cell)], *cell)) for name, cell in zip(names, row, strict=False)
            ]
            yield from told(text, Fields(pairs, 0, 0))
            continue
        yield from _row(text, names, words, row, column)


def _row(
    text: str, names: Sequence[str], words: Sequence[str], row: Sequence[Cell], column: int
) -> Iterator[Said | Named]:
    named = row[column]
    entity = name_of(text[slice(*named)])
    yield Named(entity, *named)
    for place, cell in enumerate(row):
        if place == column or cell[0] == cell[1]:
            continue
        raw = text[slice(*cell)]
        if words[place] in PLACES:
            yield Said(entity, PLACE, name_of(raw), *cell, named)
        else:
            attribute = STATE if words[place] in STATUS else name_of(names[place])
            yield Said(entity, attribute or f"column {place + 1}", value_of(raw), *cell, named)


def _naming(text: str, words: Sequence[str], body: Sequence[Sequence[Cell]]) -> int | None:
    """The column that names what a row is about: a column of `NAMES`, else the first; its values must differ."""
    order = [place for place, word in enumerate(words) if word in NAMES]
    order += [
        place for place, word in enumerate(words) if word.endswith(("_id", "_name", "_key")) and place not in order
    ]
    for place in [*order, 0]:
        values = [text[slice(*row[place])] for row in body if place < len(row)]
        if values and len(set(values)) == len(values) and all(len(value) <= WORDY for value in values) and any(values):
            return place
    return None


def _only_named(text: str, row: Sequence[Cell]) -> Iterator[Named]:
    for a, b in row[:4]:
        if 2 < b - a <= 40 and text[a].isalpha() and name_of(text[a:b]) not in DIRECTIONS:
            yield Named(name_of(text[a:b]), a, b)
