"""A run in plain Python lists: the reference of both databases, and enough for a log that is at hand."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from posttrain.embedding import Embedder
from posttrain.memory.index import entries
from posttrain.memory.rows import Edge, Fact, Kind, Posting, Turn
from posttrain.memory.view import Hits, Lengths


class PlainRun:
    """A whole run; `view(until)` is what retrieval gets. Turns may come in any order.

    Args:
        turns: Of one run.
        embedder: For vectors of the space "plain"; none by default.
    """

    def __init__(self, turns: Iterable[Turn], embedder: Embedder | None = None) -> None:
        self.turns = sorted(turns, key=lambda turn: turn.turn)
        self.run = self.turns[0].run if self.turns else ""
        self.numbers = [turn.turn for turn in self.turns]
        self.entries = entries(self.turns)
        self.places: dict[str, list[int]] = defaultdict(list)
        for place, each in enumerate(self.entries):
            for term in {**each.terms.action, **each.terms.news}:
                self.places[term].append(place)
        self.matrix = embedder([f"{t.action}\n{t.observation}" for t in self.turns]) if embedder else None

    def view(self, until: int | None = None) -> PlainView:
        """The run after a turn; None is its end."""
        return PlainView(self, until)


class PlainView:
    """See `View`."""

    def __init__(self, whole: PlainRun, until: int | None) -> None:
        self.run, self.until, self._whole = whole.run, until, whole
        self._end = len(whole.numbers) if until is None else bisect.bisect_right(whole.numbers, until)
        self._entries = whole.entries[: self._end]

    def lengths(self) -> Lengths:
        """See `View.lengths`."""
        rows = [(e.turn, sum(e.terms.action.values()), sum(e.terms.news.values())) for e in self._entries]
        turn, action, news = np.array(rows, np.int64).reshape(-1, 3).T
        return Lengths(turn, action, news)

    def turns(self, wanted: Sequence[int]) -> list[Turn]:
        """See `View.turns`."""
        asked = set(wanted)
        return [turn for turn in self._whole.turns[: self._end] if turn.turn in asked]

    def between(self, first: int, last: int) -> list[Turn]:
        """See `View.between`."""
        return [turn for turn in self._whole.turns[: self._end] if first <= turn.turn <= last]

    def hits(self, terms: Sequence[str]) -> Hits:
        """See `View.hits`."""
        rows = []
        for index, term in enumerate(terms):
            for place in self._whole.places.get(term, ()):
                if place < self._end:
                    found = self._entries[place]
                    rows.append((index, found.turn, found.terms.action.get(term, 0), found.terms.news.get(term, 0)))
        return Hits(*np.array(rows, np.int64).reshape(-1, 4).T)

    def named(self, names: Sequence[str]) -> Mapping[str, int]:
        """See `View.named`."""
        known = self.entities()
        return {name: known[name] for name in names if name in known}

    def entities(self) -> Mapping[str, int]:
        """See `View.entities`."""
        return Counter(name for e in self._entries for name in {posting.entity for posting in e.postings})

    def facts(
        self,
        entities: Sequence[str] | None = None,
        *,
        latest: bool = False,
        attribute: Callable[[str], bool] | None = None,
    ) -> list[Fact]:
        """See `View.facts`."""
        asked = None if entities is None else set(entities)
        found = [f for e in self._entries for f in e.facts if asked is None or f.entity in asked]
        if attribute is not None:
            found = [f for f in found if attribute(f.attribute)]
        if latest:
            found = list({(f.entity, f.attribute): f for f in found}.values())
        return sorted(found, key=lambda f: (f.turn, f.proof, f.entity, f.attribute))

    def postings(self, entities: Sequence[str]) -> list[Posting]:
        """See `View.postings`."""
        asked = set(entities)
        found = [p for e in self._entries for p in e.postings if p.entity in asked]
        return sorted(found, key=lambda p: (p.turn, p.proof, p.entity, p.role))

    def edges(
        self,
        *,
        sources: Sequence[int] | None = None,
        targets: Sequence[int] | None = None,
        kinds: Sequence[Kind] | None = None,
    ) -> list[Edge]:
        """See `View.edges`."""
        found = [
            edge
            for e in self._entries
            for edge in e.edges
            if (sources is None or edge.source in sources)
            and (targets is None or edge.target in targets)
            and (kinds is None or edge.kind in kinds)
        ]
        return sorted(found, key=lambda e: (e.target, e.source, e.proof, e.kind, e.entity, e.other))

    def vectors(self, space: str) -> tuple[np.ndarray, np.ndarray]:
        """See `View.vectors`."""
        matrix = self._whole.matrix
        if matrix is None or space != "plain":
            return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        return np.array(self._whole.numbers[: self._end], np.int64), matrix[: self._end]
