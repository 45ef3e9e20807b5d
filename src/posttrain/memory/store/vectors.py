"""Vectors of the runs that were asked about lately, kept as one matrix each: 20,000 vectors take 30 ms to read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from posttrain.memory.store.tables import Run, Tables

MOST_BYTES = 256 << 20
"""Of all matrices together; the one that is asked for is kept in any case."""


class Kept(NamedTuple):
    """The vectors of one run in one space."""

    epoch: int
    """Of the run; under another one, any of its turns may have changed."""
    turn: np.ndarray
    """(N,) int64, rising."""
    matrix: np.ndarray
    """(N, D) float32."""


NONE = Kept(-1, np.zeros(0, np.int64), np.zeros((0, 0), np.float32))


class Vectors:
    """Reads what is not here. Within an epoch vectors only come, so that their number tells whether all are here.

    Args:
        most_bytes: Of all that is kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, str], Kept] = OrderedDict()

    def of(self, tables: Tables, run: Run, space: str, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Turns up to one, (N,), and their vectors, (N, D)."""
        with self._lock:
            known = self._known.get((run.id, space), NONE)
        many = tables.count_vectors(run, space)
        if known.epoch != run.epoch:
            known = NONE
        if len(known.turn) != many:
            known = _with(known, run, tables.vectors(run, space, int(known.turn[-1]) if len(known.turn) else -1))
        if len(known.turn) != many:
            known = _with(NONE, run, tables.vectors(run, space))
        self._keep((run.id, space), known)
        many = int(np.searchsorted(known.turn, end, "right"))
        return known.turn[:many], known.matrix[:many]

    def clear(self) -> None:
        """Forget all: something was erased."""
        with self._lock:
            self._known.clear()

    def _keep(self, key: tuple[int, str], known: Kept) -> None:
        with self._lock:
            self._known[key] = known
            self._known.move_to_end(key)
            while len(self._known) > 1 and sum(each.matrix.nbytes for each in self._known.values()) > self.most_bytes:
                self._known.popitem(last=False)


def _with(known: Kept, run: Run, rows: list[tuple[int, bytes]]) -> Kept:
    """What is kept, and rows behind it."""
    if not rows:
        return known._replace(epoch=run.epoch)
    turn = np.array([turn for turn, _ in rows], np.int64)
    matrix = np.frombuffer(b"".join(numbers for _, numbers in rows), "<f4").reshape(len(rows), -1)
    if len(known.turn):
        turn, matrix = np.concatenate([known.turn, turn]), np.concatenate([known.matrix, matrix])
    matrix.setflags(write=False)
    return Kept(run.epoch, turn, matrix)
