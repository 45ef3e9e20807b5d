"""What is looked up in the index of one run: in its segments, and in its last turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TypeVar

import numpy as np

from posttrain.memory.rows import Edge, Entry, Fact, Kind, Posting
from posttrain.memory.store import fresh
from posttrain.memory.store.segment import Segment, rows_of
from posttrain.memory.store.tables import MOST, Run, Tables, coded, text_of
from posttrain.memory.view import Hits, Lengths

Row = TypeVar("Row", Fact, Posting)


class Lookup:
    """The index of a run at one revision. Every method is given the end: the last turn that shows.

    Args:
        tables: To read it from.
        run: Whose.
    """

    def __init__(self, tables: Tables, run: Run) -> None:
        self.run = run
        self.segments = [Segment(id, form, lengths) for id, _, form, lengths in tables.segments(run)]
        self.entries: list[Entry] = [fresh.read(*row) for row in tables.fresh(run)]

    def _fresh(self, end: int) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.turn <= end)

    def _shown(self, end: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.turns[0] <= end]

    def _texts(self, tables: Tables, segments: Iterable[Segment]) -> None:
        """See that the texts of some segments are there."""
        for segment in segments:
            if segment.needs_texts:
                segment.keep_texts(tables.parts(segment.id, b"$", b"%")[0][1])

    def _found(
        self, tables: Tables, prefix: bytes, keys: Sequence[bytes], end: int
    ) -> Iterator[tuple[Segment, list[tuple[bytes, bytes]]]]:
        """Segments, and those of their parts that have one of the keys."""
        found = tables.parts_named(self.run, [prefix + key for key in dict.fromkeys(keys)]) if self.segments else {}
        for segment in self._shown(end):
            if segment.id in found:
                yield segment, [(name[1:], rows) for name, rows in found[segment.id]]

    def _all(self, tables: Tables, prefix: bytes, end: int) -> Iterator[tuple[Segment, list[tuple[bytes, bytes]]]]:
        """Segments, and all their parts of a kind."""
        for segment in self._shown(end):
            parts = tables.parts(segment.id, prefix, bytes([prefix[0] + 1]))
            yield segment, [(name[1:], rows) for name, rows in parts]

    def lengths(self, end: int) -> Lengths:
        """See `View.lengths`."""
        last = [(e.turn, sum(e.terms.action.values()), sum(e.terms.news.values())) for e in self._fresh(end)]
        rows = np.concatenate([*(s.lengths for s in self._shown(end)), np.array(last, np.int64).reshape(-1, 3)])
        return Lengths(*rows[rows[:, 0] <= end].T)

    def hits(self, tables: Tables, terms: Sequence[str], end: int) -> Hits:
        """See `View.hits`."""
        asked: dict[bytes, list[int]] = {}
        for index, term in enumerate(terms):
            asked.setdefault(coded(term), []).append(index)
        found = self._found(tables, b"w", list(asked), end)
        told = rows_of(
            "w", ((segment, index, rows) for segment, parts in found for key, rows in parts for index in asked[key])
        )
        last = [
            (index, entry.turn, entry.terms.action.get(term, 0), entry.terms.news.get(term, 0))
            for entry in self._fresh(end)
            for index, term in enumerate(terms)
            if term in entry.terms.action or term in entry.terms.news
        ]
        rows = np.concatenate([told, np.array(last, np.int64).reshape(-1, 4)])
        rows = rows[rows[:, 1] <= end]
        return Hits(*rows[np.argsort(rows[:, 0] << 32 | rows[:, 1], kind="stable")].T)

    def entities(self, tables: Tables, end: int, names: Sequence[str] | None = None) -> Counter[str]:
        """Entities, all or some of them, with the number of their turns."""
        wanted = None if names is None else set(names)
        counts: Counter[str] = Counter()
        numbers: dict[bytes, int] = {}
        rows = rows_of(
            "p",
            (
                (segment, numbers.setdefault(key, len(numbers)), rows)
                for segment, parts in self._parts(tables, "p", names, end)
                for key, rows in parts
            ),
        )
        once = np.ones(len(rows), bool)
        once[1:] = (np.diff(rows[:, :2], axis=0) != 0).any(1)
        found = np.bincount(rows[once & (rows[:, 1] <= end), 0], minlength=len(numbers)).tolist()
        counts.update({text_of(key): count for key, count in zip(numbers, found, strict=True) if count})
        for entry in self._fresh(end):
            counts.update({p.entity for p in entry.postings if wanted is None or p.entity in wanted})
        return counts

    def names(self, tables: Tables, by: str) -> set[str]:
        """All entities that one maker named."""
        found = {p.entity for entry in self.entries for p in entry.postings if p.by == by}
        for segment, parts in self._all(tables, b"p", MOST):
            self._texts(tables, [segment])
            found.update(text_of(key) for key, rows in parts if segment.has("p", rows, by))
        return found

    def facts(
        self,
        tables: Tables,
        entities: Sequence[str] | None,
        end: int,
        attribute: Callable[[str], bool] | None = None,
    ) -> list[Fact]:
        """See `View.facts`: all versions."""

        def read(segment: Segment, entity: str, stored: bytes, end: int) -> Iterator[Fact]:
            return segment.facts(entity, stored, end, attribute)

        def of(entry: Entry) -> Iterable[Fact]:
            return (fact for fact in entry.facts if attribute is None or attribute(fact.attribute))

        return _ordered(self._rows(tables, "f", entities, end, read, of))

    def latest(self, tables: Tables, entities: Sequence[str] | None, end: int, by: str | None = None) -> list[Fact]:
        """See `View.facts`: the last versions, of those that someone made; they are looked for from the end."""
        wanted = None if entities is None else set(entities)
        found: dict[tuple[str, str], Fact] = {}
        for entry in reversed(list(self._fresh(end))):
            for fact in reversed(entry.facts):
                if (wanted is None or fact.entity in wanted) and (by is None or fact.by == by):
                    found.setdefault((fact.entity, fact.attribute), fact)
        for segment, parts in reversed(list(self._parts(tables, "f", entities, end))):
            self._texts(tables, [segment])
            for key, rows in parts:
                for fact in segment.latest(text_of(key), rows, end, by):
                    found.setdefault((fact.entity, fact.attribute), fact)
        return _ordered(found.values())

    def postings(self, tables: Tables, entities: Sequence[str] | None, end: int) -> list[Posting]:
        """See `View.postings`; None is all."""
        found = self._rows(tables, "p", entities, end, Segment.postings, lambda entry: entry.postings)
        return sorted(found, key=lambda p: (p.turn, p.proof, p.entity, p.role))

    def _parts(
        self, tables: Tables, prefix: str, entities: Sequence[str] | None, end: int
    ) -> Iterator[tuple[Segment, list[tuple[bytes, bytes]]]]:
        """Segments, and their parts of some entities or of all."""
        if entities is None:
            return self._all(tables, prefix.encode(), end)
        return self._found(tables, prefix.encode(), [coded(name) for name in entities], end)

    def _rows(
        self,
        tables: Tables,
        prefix: str,
        entities: Sequence[str] | None,
        end: int,
        read: Callable[[Segment, str, bytes, int], Iterator[Row]],
        of: Callable[[Entry], Iterable[Row]],
    ) -> list[Row]:
        wanted = None if entities is None else set(entities)
        found: list[Row] = []
        for segment, parts in self._parts(tables, prefix, entities, end):
            self._texts(tables, [segment])
            for key, rows in parts:
                found += read(segment, text_of(key), rows, end)
        for entry in self._fresh(end):
            found += (row for row in of(entry) if wanted is None or row.entity in wanted)
        return found

    def edges(
        self,
        tables: Tables,
        end: int,
        sources: Sequence[int] | None,
        targets: Sequence[int] | None,
        kinds: Sequence[Kind] | None,
    ) -> list[Edge]:
        """See `View.edges`."""
        from_, to = (None if each is None else set(each) for each in (sources, targets))
        found = [
            edge
            for segment, parts in self._edge_parts(tables, end, from_, to)
            for key, rows in parts
            for edge in segment.edges(int.from_bytes(key, "big"), rows, end)
        ]
        found += [edge for entry in self._fresh(end) for edge in entry.edges]
        kept = [
            edge
            for edge in found
            if (from_ is None or edge.source in from_)
            and (to is None or edge.target in to)
            and (kinds is None or edge.kind in kinds)
        ]
        return sorted(kept, key=lambda e: (e.target, e.source, e.proof, e.kind, e.entity, e.other))

    def _edge_parts(
        self, tables: Tables, end: int, sources: set[int] | None, targets: set[int] | None
    ) -> Iterator[tuple[Segment, list[tuple[bytes, bytes]]]]:
        """Segments, and the parts of edges that may be wanted."""
        if sources is not None and targets is None:
            keys = [key for turn in sources for key in turn_key(turn)]
            targets = {
                t for s, parts in self._found(tables, b"s", keys, end) for _, rows in parts for t in s.targets(rows)
            }
        if targets is None:
            found = self._all(tables, b"t", end)
        else:
            found = self._found(tables, b"t", [key for turn in sorted(targets) for key in turn_key(turn)], end)
        for segment, parts in found:
            self._texts(tables, [segment])
            yield segment, parts


def _ordered(facts: Iterable[Fact]) -> list[Fact]:
    return sorted(facts, key=attrgetter("turn", "proof", "entity", "attribute"))


def turn_key(turn: int) -> list[bytes]:
    """The key of a turn, if there can be such a turn."""
    return [turn.to_bytes(4, "big")] if 0 <= turn <= MOST else []
