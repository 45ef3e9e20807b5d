"""How the index of a run is kept up: turns at its end are added to it, anything else makes a part of it anew."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from posttrain.memory.graph import Known
from posttrain.memory.index import entry
from posttrain.memory.rows import RULES, Entry, Turn
from posttrain.memory.store import fresh
from posttrain.memory.store.lookup import Lookup
from posttrain.memory.store.outputs import with_outputs
from posttrain.memory.store.segment import FOLD, JOIN, Segment, fold, joined
from posttrain.memory.store.tables import MOST, Output, Run, Tables

STEP = 256
"""Turns that are read at once while many are indexed anew."""


@dataclass
class State:
    """All that is needed to index the next turn of a run."""

    epoch: int
    last: int
    """The turn before it; -1 if there is none."""
    before: Turn | None
    known: Known
    entries: list[Entry]
    """Of the turns that are not in a segment."""


class States:
    """The states of the runs that were added to lately. The database says whether they still hold.

    Args:
        most: Runs that are kept.
    """

    def __init__(self, most: int = 256) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[int, State] = OrderedDict()

    def take(self, run: Run) -> State | None:
        """Take a run's state out, if it was that of this run."""
        with self._lock:
            found = self._known.pop(run.id, None)
        return found if found and found.epoch == run.epoch and found.last <= run.last else None

    def put(self, run: Run, state: State) -> None:
        """Keep a state, once what it knows is committed."""
        with self._lock:
            self._known[run.id] = state
            self._known.move_to_end(run.id)
            if len(self._known) > self.most:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all: something was erased."""
        with self._lock:
            self._known.clear()


class Upkeep:
    """One run, within a transaction that writes.

    Args:
        tables: To write to.
        run: As it is.
        name: Its name.
        states: Taken from now, and given back to by `keep`, once the transaction is committed.
    """

    def __init__(self, tables: Tables, run: Run, name: str, states: States) -> None:
        self.tables, self.run, self.name, self.states = tables, run, name, states
        self.changed = False
        self._state: State | None = None
        self._unwritten: list[Entry] = []

    def added(self, turn: Turn) -> None:
        """A turn was written: index it if it is the last one, or note that it must be."""
        late = turn.turn < self.run.last
        if late or self.run.stale is not None:
            self.outdate(turn.turn)
            self.run = self.run._replace(last=max(self.run.last, turn.turn))
            return
        self._append(turn)
        self.run = self.run._replace(last=turn.turn)
        self.changed = True

    def outdate(self, turn: int) -> None:
        """The index no longer holds from this turn on."""
        stale = turn if self.run.stale is None else min(turn, self.run.stale)
        self.run = self.run._replace(stale=stale, epoch=self.run.epoch + 1)
        self._state, self.changed = None, True

    def finish(self) -> None:
        """Write what is left to write."""
        if self.changed:
            self._flush()
            self.tables.put_run(self.run)

    def keep(self) -> None:
        """Keep the state: the transaction is committed."""
        if self._state is not None:
            self.states.put(self.run, self._state)

    def refresh(self) -> None:
        """Index anew what is stale."""
        if self.run.stale is None:
            return
        self._flush()
        first = self._cut(self.run.stale)
        self.run = self.run._replace(stale=None, last=first - 1)
        self._state = self._load()
        self.run = self.run._replace(last=self._state.last)
        for turn in self._from(first):
            self._append(turn, self.tables.outputs(self.run, turn.turn, turn.turn))
            self.run = self.run._replace(last=turn.turn)
        self.changed = True

    def _cut(self, turn: int) -> int:
        """Delete the index from a turn on, whole segments at a time; gives the first turn that is not indexed."""
        for id, last, _ in self.tables.sizes(self.run, MOST):
            if last < turn:
                break
            turn = min(turn, id & MOST)
            self.tables.drop_segment(id)
        self.tables.delete("fresh", self.run, turn)
        return turn

    def _from(self, first: int, last: int = MOST) -> Iterator[Turn]:
        """The turns from one to another; those of a long run are read in parts."""
        while first <= last and (found := self.tables.turns(self.run, self.name, first, last, most=STEP)):
            yield from found
            first = found[-1].turn + 1

    def _append(self, turn: Turn, said: Sequence[Output] = ()) -> None:
        state = self._state = self._state or self._current()
        made = entry(turn, state.before, state.known)
        made = with_outputs(made, said, turn, state.before)
        state.before, state.last = turn, turn.turn
        state.entries.append(made)
        self._unwritten.append(made)
        if len(state.entries) >= FOLD:
            self._fold(state)

    def _current(self) -> State:
        """The state after the run's last turn: the one that is kept, caught up with what others wrote, or read."""
        state = self.states.take(self.run)
        if state is None:
            return self._load()
        if state.last < self.run.last:
            for turn in self._from(state.last + 1, self.run.last):
                entry(turn, state.before, state.known)
                state.before, state.last = turn, turn.turn
            state.entries = [fresh.read(*row) for row in self.tables.fresh(self.run)]
        return state

    def _load(self) -> State:
        """The state after the last indexed turn, from the database."""
        lookup = Lookup(self.tables, self.run)
        facts = lookup.latest(self.tables, None, MOST, RULES)
        known = Known.of(facts, lookup.names(self.tables, RULES))
        before = self.tables.before(self.run, self.name, self.run.last + 1)
        return State(self.run.epoch, before.turn if before else -1, before, known, lookup.entries)

    def _fold(self, state: State) -> None:
        """Make a segment of the last turns, and one of several small ones."""
        first, last = state.entries[0].turn, state.last
        self._write(first, last, fold(state.entries).stored())
        if len(self._unwritten) < len(state.entries):
            self.tables.delete("fresh", self.run)
        state.entries, self._unwritten = [], []
        small = self.tables.sizes(self.run, JOIN)
        if len(small) == JOIN and all(count == FOLD for _, _, count in small):
            ids = [id for id, _, _ in reversed(small)]
            columns = [Segment(id, *self.tables.segment(id)).columns(self.tables.parts(id)) for id in ids]
            stored = joined(columns).stored()
            for id in ids:
                self.tables.drop_segment(id)
            self._write(ids[0] & MOST, last, stored)

    def _write(self, first: int, last: int, stored: tuple[bytes, bytes, list[tuple[bytes, bytes]]]) -> None:
        self.tables.put_segment(self.run, first, last, *stored)

    def _flush(self) -> None:
        rows = [(self.run.place(each.turn), *fresh.written(each)) for each in self._unwritten]
        if len(rows) == 1:
            self.tables.execute("INSERT INTO fresh VALUES (?, ?, ?)", rows[0])
        elif rows:
            self.tables.insert("fresh", rows, 3)
        self._unwritten = []
