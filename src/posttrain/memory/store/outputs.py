"""What models said about turns: kept with what they were asked about, and put into the index, never asked again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, get_args

from posttrain.memory.rows import Edge, Entry, Field, Kind, Role, Turn
from posttrain.memory.store import fresh
from posttrain.memory.store.tables import MOST, Output, coded


def asked(turn: Turn, before: Turn | None) -> bytes:
    """A name of what a model is asked about: the two turns, whole."""
    name = hashlib.blake2b(digest_size=16)
    for each in (turn, before):
        for text in (each.action, each.observation) if each else ():
            data = coded(text)
            name.update(len(data).to_bytes(8, "big") + data)
    return name.digest()


def with_outputs(entry: Entry, outputs: Iterable[Output], turn: Turn, before: Turn | None) -> Entry:
    """An entry with the rows that models gave for just these two turns, after those of the rules."""
    for output in outputs:
        if output.asked == asked(turn, before):
            facts, postings, edges = fresh.rows_read(output.rows)
            entry = entry._replace(
                facts=entry.facts + facts, postings=entry.postings + postings, edges=entry.edges + edges
            )
    return entry


def check_rows(output: Output) -> None:
    """Raise unless the rows, which come from elsewhere, are rows of that turn by that model.

    Raises:
        ValueError: They are not.
    """
    try:
        facts, postings, edges = fresh.rows_read(output.rows)
        ok = (
            all(_whole(each.turn) and (each.writer is None or _whole(each.writer)) for each in facts)
            and all(_texts(each.attribute, each.value) for each in facts)
            and all(each.role in get_args(Role) for each in postings)
            and all(each.kind in get_args(Kind) and _whole(each.source) and _texts(each.other) for each in edges)
            and all(_right(each, output) for each in (*facts, *postings, *edges))
        )
    except (ValueError, TypeError, IndexError, KeyError, RecursionError):
        ok = False
    if not ok:
        raise ValueError(f"its rows are no rows of turn {output.turn} by {output.model!r}")


def _right(row: Any, output: Output) -> bool:
    """What all rows have in common."""
    at, proof = row.target if isinstance(row, Edge) else row.turn, row.proof
    numbers = (at, proof.turn, proof.start, proof.end)
    return (
        (at, row.by) == (output.turn, output.model)
        and all(map(_whole, numbers))
        and proof.start <= proof.end
        and proof.field in get_args(Field)
        and _texts(row.entity)
    )


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)
