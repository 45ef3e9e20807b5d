"""Tables of small integers, each column as narrow as its numbers let it be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

Form: TypeAlias = list[str | int]
"""A column's type, or the one number that is in all of it."""

TYPES = [(np.iinfo(name).min, np.iinfo(name).max, name) for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<i8")]


def form_of(rows: np.ndarray) -> Form:
    """The narrowest form of (N, K) integers. The first column is never left out, so that rows can be counted."""
    if not len(rows):
        return ["u1", *[0] * (rows.shape[1] - 1)]
    found: Form = []
    for index, (low, high) in enumerate(zip(rows.min(0).tolist(), rows.max(0).tolist(), strict=True)):
        narrow = next(name for least, most, name in TYPES if least <= low and high <= most)
        found.append(low if index and low == high else narrow)
    return found


def record(form: Form) -> np.dtype:
    """How one row is stored."""
    return _record(tuple(form))


@lru_cache(maxsize=1 << 12)
def _record(form: tuple[str | int, ...]) -> np.dtype:
    return np.dtype([(str(index), each) for index, each in enumerate(form) if isinstance(each, str)])


def packed(rows: np.ndarray, form: Form) -> bytes:
    """(N, K) integers, row by row."""
    kind = record(form)
    found = np.empty(len(rows), kind)
    for name in kind.names or ():
        found[name] = rows[:, int(name)]
    return found.tobytes()


def unpacked(stored: bytes | Sequence[bytes], form: Form) -> np.ndarray:
    """(N, K) integers again."""
    kind = record(form)
    read = np.frombuffer(stored if isinstance(stored, bytes) else b"".join(stored), kind)
    found = np.empty((len(read), len(form)), np.int64)
    for index, each in enumerate(form):
        found[:, index] = read[str(index)] if isinstance(each, str) else each
    return found
