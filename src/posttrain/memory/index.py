"""From turns to rows. Everything here can be thrown away and made again: `entry` is a function of what came before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from posttrain.memory.graph import Known, read
from posttrain.memory.rows import Entry, Terms, Turn
from posttrain.text import news, terms


def entry(turn: Turn, before: Turn | None, known: Known) -> Entry:
    """All rows of a turn.

    Args:
        turn: The turn.
        before: The one before it in the run, if there is one.
        known: The states after that one. It takes up this turn's.
    """
    fresh = news(turn.observation, before.observation if before else "")
    words = Terms(Counter(terms(turn.action)), Counter(terms(fresh)))
    found = read(turn, before, known)
    known.take(found)
    return Entry(turn.turn, words, found.facts, found.postings, found.edges)


def entries(turns: Iterable[Turn]) -> list[Entry]:
    """The rows of a whole run, whose turns are in order."""
    known, before, found = Known(), None, []
    for turn in turns:
        found.append(entry(turn, before, known))
        before = turn
    return found


__all__: Sequence[str] = ("entries", "entry")
