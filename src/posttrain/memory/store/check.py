"""Whether everything that a memory made from its turns is what would be made from them now."""

from __future__ import annotations

from collections.abc import Iterator

from posttrain.memory.graph import Known
from posttrain.memory.index import entry
from posttrain.memory.rows import Entry
from posttrain.memory.store import fresh
from posttrain.memory.store.outputs import with_outputs
from posttrain.memory.store.schema import BY_TURN
from posttrain.memory.store.segment import fold
from posttrain.memory.store.tables import MOST, Run, Tables


def check(tables: Tables) -> list[str]:
    """Make the index of every run again, and compare it byte by byte; gives what is wrong, in sentences.

    Turns that are indexed at the next question are not yet wrong.
    """
    found = []
    for _, name in tables.names():
        run = tables.run(name)
        assert run is not None
        found += [f"run {name!r}: {each}" for each in _problems(tables, run, _made(tables, run, name))]
    for table in BY_TURN:
        if lost := tables.orphans(table):
            found.append(f"{lost} rows of {table} belong to no run")
    return found


def _made(tables: Tables, run: Run, name: str) -> list[Entry]:
    known, before, found = Known(), None, []
    for turn in tables.turns(run, name):
        made = entry(turn, before, known)
        found.append(with_outputs(made, tables.outputs(run, turn.turn, turn.turn), turn, before))
        before = turn
    return found


def _problems(tables: Tables, run: Run, made: list[Entry]) -> Iterator[str]:
    if run.last != (made[-1].turn if made else -1):
        yield f"its last turn is {made[-1].turn if made else -1}, and it says {run.last}"
    end = MOST if run.stale is None else run.stale - 1
    shown = [each for each in made if each.turn <= end]
    for id, last, form, lengths in tables.segments(run):
        if last > end:  # it is made anew as a whole, and so are all after it
            end = min(end, (id & MOST) - 1)
            shown = [each for each in shown if each.turn <= end]
            continue
        inside = [each for each in shown if id & MOST <= each.turn <= last]
        stored = fold(inside).stored() if inside else None
        if stored is None or (bytes(form), bytes(lengths), tables.parts(id)) != tuple(stored):
            yield f"turns {id & MOST} to {last} are not indexed as they are"
        shown = [each for each in shown if each.turn > last]
    rows = [(turn, bytes(words), bytes(graph)) for turn, words, graph in tables.fresh(run) if turn <= end]
    if rows != [(each.turn, *fresh.written(each)) for each in shown]:
        yield f"its last {len(shown)} turns are not indexed as they are"
