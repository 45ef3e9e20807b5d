"""Index rows of one turn, as they are written while the turn is among the last of its run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from posttrain.memory.rows import Edge, Entry, Fact, Posting, Proof, Terms

_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False, ensure_ascii=False)


def written(entry: Entry) -> tuple[bytes, bytes]:
    """Words and graph of an entry; every text is kept."""
    return _json(entry.terms), rows_written(entry.facts, entry.postings, entry.edges)


def rows_written(facts: Sequence[Fact], postings: Sequence[Posting], edges: Sequence[Edge]) -> bytes:
    """Rows of a graph."""
    return _json((facts, postings, edges))


def _json(value: Any) -> bytes:
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def _of(stored: bytes) -> Any:
    return json.loads(bytes(stored).decode("utf-8", "surrogatepass"))


def read(turn: int, words: bytes, graph: bytes) -> Entry:
    """The entry again."""
    return Entry(turn, Terms(*_of(words)), *rows_read(graph))


def rows_read(graph: bytes) -> tuple[tuple[Fact, ...], tuple[Posting, ...], tuple[Edge, ...]]:
    """Rows of a graph again."""
    facts, postings, edges = _of(graph)
    return _rows(Fact, facts), _rows(Posting, postings), _rows(Edge, edges)


def _rows(kind: Any, rows: Iterable[list[Any]]) -> tuple[Any, ...]:
    """The proof is the last column but one."""
    return tuple(kind(*row[:-2], Proof(*row[-2]), row[-1]) for row in rows)
