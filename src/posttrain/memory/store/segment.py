"""Index rows of many turns, laid out by what they are looked up by: a word, an entity, a turn.

A turn's rows are written one by one while it is among the last of its run. When there are `FOLD` of those they become a
segment, and `JOIN` such segments become one: a word then costs one look-up in a segment, and rows take a few bytes.

| part | of | columns |
|---|---|---|
| `w` + word | words | place, in the action, in the news |
| `f` + entity | facts | place, turn, attribute, value, writer, proof, by |
| `p` + entity | postings | place, turn, role, proof, by |
| `t` + turn | edges to it | place, kind, source, entity, other, proof, by |
| `s` + turn | edges from it | place, target |
| `$` | texts that the columns number | |

A place is the index of a turn in the segment, and turns are told as distances from that turn's number.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, get_args

import numpy as np

from posttrain.memory.rows import Edge, Entry, Fact, Field, Kind, Posting, Proof, Role
from posttrain.memory.store.columns import Form, form_of, packed, record, unpacked
from posttrain.memory.store.tables import coded, text_of

FOLD = 64
"""Turns of a small segment."""
JOIN = 8
"""Small segments of a large one."""

FIELDS, ROLES, KINDS = get_args(Field), get_args(Role), get_args(Kind)

TABLES = "wfpts"
WIDTHS = {"w": 3, "f": 10, "p": 8, "t": 10, "s": 2}
TEXTS = {"f": (2, 3, 9), "p": (7,), "t": (3, 4, 9)}
"""Columns that number texts."""


@dataclass
class Table:
    """Rows by key."""

    width: int
    keys: dict[bytes, int] = field(default_factory=dict)
    """Key to its number."""
    of: list[int] | np.ndarray = field(default_factory=list)
    """(N,) the number of each row's key."""
    rows: list[int] | np.ndarray = field(default_factory=list)
    """(N, K), or one after another."""

    def add(self, key: bytes, row: Sequence[int]) -> None:
        """Add a row; those of a key stay in order."""
        self.of.append(self.keys.setdefault(key, len(self.keys)))  # type: ignore[union-attr]
        self.rows.extend(row)  # type: ignore[union-attr]

    def array(self) -> np.ndarray:
        """(N, K)."""
        return np.asarray(self.rows, np.int64).reshape(-1, self.width)


class Stored(NamedTuple):
    """A segment as it lies in the database."""

    form: bytes
    lengths: bytes
    parts: list[tuple[bytes, bytes]]
    """Names and rows, ordered."""


@dataclass
class Columns:
    """A segment while it is made."""

    lengths: list[tuple[int, int, int]] | np.ndarray
    """(N, 3): a turn, and the words of its action and its news."""
    texts: dict[str, int]
    """Text to its number."""
    tables: dict[str, Table]

    def stored(self) -> Stored:
        """For the database."""
        forms: dict[str, Form] = {}
        parts = [(b"$", _texts(list(self.texts)))]
        for name, table in self.tables.items():
            rows = table.array()
            forms[name] = form = form_of(rows)
            order = sorted(table.keys.items())
            rank = np.empty(len(order), np.int64)
            rank[[number for _, number in order]] = np.arange(len(order))
            of = rank[np.asarray(table.of, np.int64)]
            by_key = np.argsort(of, kind="stable")
            data, width = packed(rows[by_key], form), record(form).itemsize
            ends = (np.searchsorted(of[by_key], np.arange(-1, len(order)), "right") * width).tolist()
            prefix = name.encode()
            parts += [
                (prefix + key, data[begin:end]) for (key, _), (begin, end) in zip(order, pairwise(ends), strict=True)
            ]
        lengths = np.asarray(self.lengths, np.int64).reshape(-1, 3)
        return Stored(json.dumps(forms).encode(), lengths.astype("<u4").tobytes(), sorted(parts))


def fold(entries: Sequence[Entry]) -> Columns:
    """Lay out the rows of some turns, which are in order."""
    texts: dict[str, int] = {}
    tables = {name: Table(WIDTHS[name]) for name in TABLES}
    words, facts, postings, edges, sources = (tables[name] for name in TABLES)
    lengths = []

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    for place, entry in enumerate(entries):
        at, (action, news) = entry.turn, entry.terms
        lengths.append((at, sum(action.values()), sum(news.values())))
        for word in {**action, **news}:
            words.add(coded(word), (place, action.get(word, 0), news.get(word, 0)))
        for each in entry.facts:
            row = (place, at - each.turn, number(each.attribute), number(each.value), _writer(at, each.writer))
            facts.add(coded(each.entity), (*row, *_proof(at, each.proof), number(each.by)))
        for each in entry.postings:
            row = (place, at - each.turn, ROLES.index(each.role))
            postings.add(coded(each.entity), (*row, *_proof(at, each.proof), number(each.by)))
        for each in entry.edges:
            row = (place, KINDS.index(each.kind), at - each.source, number(each.entity), number(each.other))
            edges.add(_turn(each.target), (*row, *_proof(at, each.proof), number(each.by)))
            sources.add(_turn(each.source), (place, at - each.target))
    return Columns(lengths, texts, tables)


def _proof(at: int, proof: Proof) -> tuple[int, int, int, int]:
    return at - proof.turn, FIELDS.index(proof.field), proof.start, proof.end - proof.start


def _writer(at: int, writer: int | None) -> int:
    """0 is nobody, 1 the turn itself, 2 the one after it, 3 the one before it, and so on."""
    return 0 if writer is None else 1 + 2 * (at - writer) if writer <= at else 2 * (writer - at)


def _turn(turn: int) -> bytes:
    return turn.to_bytes(4, "big")


def _texts(texts: Sequence[str]) -> bytes:
    """Texts one after another, behind their number and their ends."""
    each = [coded(text) for text in texts]
    ends = np.cumsum([len(one) for one in each], dtype="<u4") if each else np.zeros(0, "<u4")
    return len(each).to_bytes(4, "little") + ends.tobytes() + b"".join(each)


class Texts(dict[int, str]):
    """The texts of a segment by number, each decoded when it is first asked for.

    Args:
        stored: The part `$`.
    """

    def __init__(self, stored: bytes) -> None:
        count = int.from_bytes(stored[:4], "little")
        self.ends = [0, *np.frombuffer(stored, "<u4", count, 4).tolist()]
        self.data = stored[4 + 4 * count :]

    def __missing__(self, number: int) -> str:
        found = self[number] = text_of(self.data[self.ends[number] : self.ends[number + 1]])
        return found


class Segment:
    """A segment that is read.

    Args:
        id: Its first turn, among all of the database.
        stored: Its form and lengths.
    """

    def __init__(self, id: int, form: bytes, lengths: bytes) -> None:
        self.id = id
        self.forms: dict[str, Form] = json.loads(form)
        self.lengths = np.frombuffer(lengths, "<u4").reshape(-1, 3).astype(np.int64)
        self.turns = self.lengths[:, 0].tolist()
        self._texts: Texts | None = None

    @property
    def needs_texts(self) -> bool:
        """Whether `keep_texts` is yet to be called before facts, postings or edges can be read."""
        return self._texts is None

    def keep_texts(self, stored: bytes) -> None:
        """Take in the part `$`."""
        self._texts = Texts(stored)

    def text(self, number: int) -> str:
        """The text of a number."""
        assert self._texts is not None
        return self._texts[number]

    def has(self, table: str, stored: bytes, by: str) -> bool:
        """Whether one of a part's rows was made by someone."""
        form = self.forms[table]
        if isinstance(form[-1], int):
            return self.text(form[-1]) == by
        return any(self.text(number) == by for number in set(unpacked(stored, form)[:, -1].tolist()))

    def targets(self, stored: bytes) -> list[int]:
        """Of a part `s`: the turns that its edges lead to."""
        rows = unpacked(stored, self.forms["s"])
        return (self.lengths[rows[:, 0], 0] - rows[:, 1]).tolist()

    def facts(
        self, entity: str, stored: bytes, end: int, attribute: Callable[[str], bool] | None = None
    ) -> Iterator[Fact]:
        """Of a part `f`, in order, from turns up to `end`, and of some attributes."""
        rows = unpacked(stored, self.forms["f"])
        rows = rows[self.lengths[rows[:, 0], 0] <= end]
        if attribute is not None:
            wanted = [number for number in set(rows[:, 2].tolist()) if attribute(self.text(number))]
            rows = rows[np.isin(rows[:, 2], wanted)]
        return self._facts(entity, rows)

    def latest(self, entity: str, stored: bytes, end: int, by: str | None) -> Iterator[Fact]:
        """The last of each attribute, of those that someone made."""
        rows = unpacked(stored, self.forms["f"])
        rows = rows[self.lengths[rows[:, 0], 0] <= end]
        if by is not None:
            makers = np.unique(rows[:, -1]).tolist()
            rows = rows[np.isin(rows[:, -1], [number for number in makers if self.text(number) == by])]
        _, last = np.unique(rows[::-1, 2], return_index=True)
        return self._facts(entity, rows[::-1][last])

    def _facts(self, entity: str, rows: np.ndarray) -> Iterator[Fact]:
        at = self.lengths[rows[:, 0], 0]
        turns, told = (at - rows[:, 1]).tolist(), (at - rows[:, 5]).tolist()
        writer = rows[:, 4]
        wrote = np.where(writer % 2 > 0, at - writer // 2, at + writer // 2).tolist()
        nobody = (writer == 0).tolist()
        writers = [None if none else turn for none, turn in zip(nobody, wrote, strict=True)]
        fields = map(FIELDS.__getitem__, rows[:, 6].tolist())
        proofs = map(Proof, told, fields, rows[:, 7].tolist(), (rows[:, 7] + rows[:, 8]).tolist())
        assert self._texts is not None
        text = self._texts.__getitem__
        attributes, values, makers = (map(text, rows[:, column].tolist()) for column in TEXTS["f"])
        return map(Fact, itertools.repeat(entity), attributes, values, turns, writers, proofs, makers)

    def postings(self, entity: str, stored: bytes, end: int) -> Iterator[Posting]:
        """Of a part `p`, in order, from turns up to `end`."""
        for place, turn, role, *proof, by in unpacked(stored, self.forms["p"]).tolist():
            at = self.turns[place]
            if at > end:
                return
            yield Posting(entity, at - turn, ROLES[role], _proven(at, proof), self.text(by))

    def edges(self, target: int, stored: bytes, end: int) -> Iterator[Edge]:
        """Of a part `t`, in order, from turns up to `end`."""
        for place, kind, source, entity, other, *proof, by in unpacked(stored, self.forms["t"]).tolist():
            at = self.turns[place]
            if at > end:
                return
            named = (self.text(entity), self.text(other))
            yield Edge(KINDS[kind], at - source, target, *named, _proven(at, proof), self.text(by))

    def columns(self, parts: Iterable[tuple[bytes, bytes]]) -> Columns:
        """Take the whole of it apart again."""
        tables = {name: Table(WIDTHS[name]) for name in TABLES}
        read: dict[str, list[bytes]] = {name: [] for name in TABLES}
        counts: dict[str, list[int]] = {name: [] for name in TABLES}
        sizes = {name: record(form).itemsize for name, form in self.forms.items()}
        for name, rows in parts:
            if name == b"$":
                self.keep_texts(rows)
                continue
            table = chr(name[0])
            tables[table].keys[name[1:]] = len(tables[table].keys)
            read[table].append(rows)
            counts[table].append(len(rows) // sizes[table])
        for name, table in tables.items():
            table.rows = unpacked(read[name], self.forms[name])
            table.of = np.repeat(np.arange(len(table.keys)), counts[name])
        assert self._texts is not None
        texts = {self.text(number): number for number in range(len(self._texts.ends) - 1)}
        return Columns(self.lengths, texts, tables)


def rows_of(table: str, parts: Iterable[tuple[Segment, int, bytes]]) -> np.ndarray:
    """The rows of parts of many segments, with what is given with each part before it and turns in place of places.

    Parts of one form are unpacked together, which is much quicker than one by one.
    """
    by_form: dict[str, list[tuple[Segment, int, bytes]]] = defaultdict(list)
    for part in parts:
        by_form[str(part[0].forms[table])].append(part)
    found = [np.zeros((0, 1 + WIDTHS[table]), np.int64)]
    for some in by_form.values():
        form = some[0][0].forms[table]
        segments = {segment.id: segment for segment, _, _ in some}
        ends = itertools.accumulate((len(each.lengths) for each in segments.values()), initial=0)
        begin = dict(zip(segments, ends, strict=False))
        counts = [len(stored) // record(form).itemsize for _, _, stored in some]
        rows = np.empty((sum(counts), 1 + WIDTHS[table]), np.int64)
        rows[:, 0] = np.repeat([number for _, number, _ in some], counts)
        rows[:, 1:] = unpacked([stored for _, _, stored in some], form)
        rows[:, 1] += np.repeat([begin[segment.id] for segment, _, _ in some], counts)
        rows[:, 1] = np.concatenate([each.lengths[:, 0] for each in segments.values()])[rows[:, 1]]
        found.append(rows)
    return np.concatenate(found)


def _proven(at: int, proof: Sequence[int]) -> Proof:
    turn, field, start, length = proof
    return Proof(at - turn, FIELDS[field], start, start + length)


def joined(columns: Sequence[Columns]) -> Columns:
    """Segments that follow each other as one."""
    texts: dict[str, int] = {}
    tables = {name: Table(WIDTHS[name]) for name in TABLES}
    begin = 0
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in TABLES}
    for each in columns:
        numbers = np.array([texts.setdefault(text, len(texts)) for text in each.texts], np.int64)
        for name, table in each.tables.items():
            keys = tables[name].keys
            renamed = np.array([keys.setdefault(key, len(keys)) for key in table.keys], np.int64)
            rows = table.array().copy()
            rows[:, 0] += begin
            for column in TEXTS.get(name, ()):
                rows[:, column] = numbers[rows[:, column]] if len(rows) else rows[:, column]
            of = np.asarray(table.of, np.int64)
            parts[name].append((renamed[of] if len(of) else of, rows))
        begin += len(each.lengths)
    for name, table in tables.items():
        table.of, table.rows = (np.concatenate(each) for each in zip(*parts[name], strict=True))
    return Columns(np.concatenate([np.asarray(each.lengths).reshape(-1, 3) for each in columns]), texts, tables)
