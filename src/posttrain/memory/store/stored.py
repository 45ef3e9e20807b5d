"""A run of a database as retrieval sees it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from posttrain.memory.added import MemoryFileError, RunChanged, UnknownRun
from posttrain.memory.rows import Edge, Fact, Kind, Posting, Turn
from posttrain.memory.store.engine import Engine
from posttrain.memory.store.lookup import Lookup
from posttrain.memory.store.tables import Run, Tables
from posttrain.memory.store.vectors import Vectors
from posttrain.memory.view import Hits, Lengths

TRIES = 20
"""So often an index is made anew for one reader, if others make it stale in between."""


class Lookups:
    """The indexes of the runs that were asked about lately.

    Args:
        engine: The database.
        refresh: Makes anew what is stale of a run's index.
        most: Runs that are kept.
    """

    def __init__(self, engine: Engine, refresh: Callable[[str], None], most: int = 32) -> None:
        self.engine, self.refresh, self.most = engine, refresh, most
        self.vectors = Vectors()
        self._lock = threading.Lock()
        self._known: OrderedDict[int, Lookup] = OrderedDict()

    @contextmanager
    def reading(self, name: str, same: Run | None = None) -> Iterator[tuple[Tables, Lookup]]:
        """A transaction, and the run's index in it.

        Args:
            name: Of the run.
            same: The run as it was; turns at its end may have come since, and nothing else.

        Raises:
            UnknownRun: There is no such run.
            RunChanged: It is not the same.
            MemoryFileError: Others make its index stale again and again.
        """
        for _ in range(TRIES):
            with self.engine.read() as tx:
                tables = Tables(tx)
                run = tables.run(name)
                if run is None:
                    raise UnknownRun(name)
                if same is not None and (run.id, run.epoch) != (same.id, same.epoch):
                    raise RunChanged(name)
                if run.stale is None:
                    yield tables, self._lookup(tables, run)
                    return
            self.refresh(name)
        raise MemoryFileError(
            f"Others add to run {name!r} before its end so often that its index was stale again {TRIES} times before "
            "it could be read; ask again later, or have them add turns in order."
        )

    def clear(self) -> None:
        """Forget all: something was erased."""
        with self._lock:
            self._known.clear()
        self.vectors.clear()

    def _lookup(self, tables: Tables, run: Run) -> Lookup:
        with self._lock:
            found = self._known.get(run.id)
        if found is None or found.run != run:
            found = Lookup(tables, run)
        with self._lock:
            self._known[run.id] = found
            self._known.move_to_end(run.id)
            if len(self._known) > self.most:
                self._known.popitem(last=False)
        return found


class StoredView:
    """See `View`. What is added later at the run's end does not show; a change before it makes a view raise RunChanged.

    Args:
        lookups: Of the database.
        run: The run's name.
        until: The last turn that shows; None is the last one there is now.
    """

    def __init__(self, lookups: Lookups, run: str, until: int | None) -> None:
        self.run, self.until, self._lookups = run, until, lookups
        with lookups.reading(run) as (_, lookup):
            self._run = lookup.run
        self._end = self._run.last if until is None else min(until, self._run.last)

    def lengths(self) -> Lengths:
        """See `View.lengths`."""
        with self._lookups.reading(self.run, self._run) as (_, lookup):
            return lookup.lengths(self._end)

    def turns(self, wanted: Sequence[int]) -> list[Turn]:
        """See `View.turns`."""
        asked = sorted({turn for turn in wanted if 0 <= turn <= self._end})
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            return tables.these(lookup.run, self.run, asked)

    def between(self, first: int, last: int) -> list[Turn]:
        """See `View.between`."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            return tables.turns(lookup.run, self.run, first, min(last, self._end))

    def hits(self, terms: Sequence[str]) -> Hits:
        """See `View.hits`."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            return lookup.hits(tables, terms, self._end)

    def named(self, names: Sequence[str]) -> Mapping[str, int]:
        """See `View.named`."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            found = lookup.entities(tables, self._end, names)
        return {name: found[name] for name in names if name in found}

    def entities(self) -> Mapping[str, int]:
        """See `View.entities`; ordered by name."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            return dict(sorted(lookup.entities(tables, self._end).items()))

    def facts(
        self,
        entities: Sequence[str] | None = None,
        *,
        latest: bool = False,
        attribute: Callable[[str], bool] | None = None,
    ) -> list[Fact]:
        """See `View.facts`."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            if latest:
                found = lookup.latest(tables, entities, self._end)
                return found if attribute is None else [fact for fact in found if attribute(fact.attribute)]
            return lookup.facts(tables, entities, self._end, attribute)

    def postings(self, entities: Sequence[str]) -> list[Posting]:
        """See `View.postings`."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            return lookup.postings(tables, entities, self._end)

    def edges(
        self,
        *,
        sources: Sequence[int] | None = None,
        targets: Sequence[int] | None = None,
        kinds: Sequence[Kind] | None = None,
    ) -> list[Edge]:
        """See `View.edges`."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            return lookup.edges(tables, self._end, sources, targets, kinds)

    def vectors(self, space: str) -> tuple[np.ndarray, np.ndarray]:
        """See `View.vectors`."""
        with self._lookups.reading(self.run, self._run) as (tables, lookup):
            return self._lookups.vectors.of(tables, lookup.run, space, self._end)
