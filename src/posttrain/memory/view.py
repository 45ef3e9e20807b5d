"""What retrieval may ask of a store: one run, as it was known after a turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from posttrain.memory.rows import Edge, Fact, Kind, Posting, Turn


class Hits(NamedTuple):
    """Where terms occur: four arrays of one length, ordered by term, then by turn."""

    term: np.ndarray
    """Index into the terms that were asked for."""
    turn: np.ndarray
    action: np.ndarray
    """How often in the action."""
    news: np.ndarray
    """How often in the news of the observation."""


class Lengths(NamedTuple):
    """The number of terms of each turn: three arrays of one length, ordered by turn."""

    turn: np.ndarray
    action: np.ndarray
    news: np.ndarray


class View(Protocol):
    """A run up to and including a turn. Nothing later shows in any answer, statistics included."""

    run: str

    @property
    def until(self) -> int | None:
        """The last turn that shows; None if there is no end."""
        ...

    def lengths(self) -> Lengths:
        """Numbers of terms of all turns; also says which turns there are."""
        ...

    def turns(self, wanted: Sequence[int]) -> list[Turn]:
        """These turns, ordered; those that are not there are left out."""
        ...

    def between(self, first: int, last: int) -> list[Turn]:
        """All turns from `first` to `last`, both included, ordered."""
        ...

    def hits(self, terms: Sequence[str]) -> Hits:
        """Where each of some terms occurs."""
        ...

    def named(self, names: Sequence[str]) -> Mapping[str, int]:
        """Those of the names that are entities of this run, each with the number of its turns."""
        ...

    def entities(self) -> Mapping[str, int]:
        """All entities of this run, each with the number of its turns."""
        ...

    def facts(
        self,
        entities: Sequence[str] | None = None,
        *,
        latest: bool = False,
        attribute: Callable[[str], bool] | None = None,
    ) -> list[Fact]:
        """Versions of the states of some entities, or of all, ordered by turn and place.

        Args:
            entities: Whose; None is all.
            latest: Only the last version of each attribute.
            attribute: Which attributes; None is all.
        """
        ...

    def postings(self, entities: Sequence[str]) -> list[Posting]:
        """The turns of some entities, ordered by turn and place."""
        ...

    def edges(
        self,
        *,
        sources: Sequence[int] | None = None,
        targets: Sequence[int] | None = None,
        kinds: Sequence[Kind] | None = None,
    ) -> list[Edge]:
        """Edges from some turns, to some turns, of some kinds; None is any. Ordered by target, source and place."""
        ...

    def vectors(self, space: str) -> tuple[np.ndarray, np.ndarray]:
        """(N,) turns and (N, D) vectors of an embedder's space, ordered by turn."""
        ...
