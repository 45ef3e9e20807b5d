"""Turns that one signal picks for a question, and the turns whose action names a thing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from posttrain.memory.answer import Finding
from posttrain.memory.retrieval.deed import verbs
from posttrain.memory.rows import Field, Proof, Turn
from posttrain.memory.view import View
from posttrain.text import terms

FEW, MANY = 16, 512
"""Turns that are read at first, and at most, at a time."""


class Pick(NamedTuple):
    """A turn that bears on a question."""

    turn: int
    weight: float
    """Beside the weights of `rank.WEIGHTS`."""
    proof: Proof | None = None


@dataclass
class Picked:
    """What one signal gives."""

    picks: list[Pick] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, turn: int, weight: float, proof: Proof | None = None) -> None:
        """Pick a turn."""
        self.picks.append(Pick(turn, weight, proof))


class Window(NamedTuple):
    """Steps from first to last, both included."""

    first: int
    last: int


def having(view: View, text: str, field: Field | None = None) -> np.ndarray:
    """The turns that have all words of a text, or, where a field is given, have each of them in it.

    Args:
        view: The run.
        text: Such as a name.
        field: Of observations, what is new in them counts.
    """
    wanted = list(dict.fromkeys(terms(text)))
    hits = view.hits(wanted)
    found = hits.turn
    if field is not None:
        found = found[(hits.action if field == "action" else hits.news) > 0]
    turn, count = np.unique(found, return_counts=True)
    return turn[count == len(wanted)]


def naming(view: View, name: str, window: Window, *, newest: bool = False) -> Iterator[Turn]:
    """The turns of a window whose action has all words of a name; read a few at a time.

    Args:
        view: The run.
        name: Of a thing.
        window: Where to look.
        newest: Whether to begin with the last.
    """
    yield from _few(view, having(view, name, "action"), window, newest)


def acting(view: View, kinds: Collection[str], window: Window, *, newest: bool = False) -> Iterator[Turn]:
    """The turns of a window whose action has a verb of some kinds; read a few at a time."""
    hits = view.hits(verbs(frozenset(kinds)))
    yield from _few(view, np.unique(hits.turn[hits.action > 0]), window, newest)


def _few(view: View, turn: np.ndarray, window: Window, newest: bool) -> Iterator[Turn]:
    """Those of some turns that lie in a window."""
    steps = turn[(turn >= window.first) & (turn <= window.last)].tolist()
    if newest:
        steps.reverse()
    at, many = 0, FEW
    while at < len(steps):
        found = view.turns(steps[at : at + many])
        yield from reversed(found) if newest else found
        at, many = at + many, min(2 * many, MANY)
