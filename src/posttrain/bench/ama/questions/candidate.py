"""A question that could be asked about a log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from posttrain.bench.ama.log import Kind, Value


class Candidate(NamedTuple):
    """What is asked, apart from how it is put."""

    kind: Kind
    template: str
    slots: Mapping[str, Any]
    answer: Value | None
    needle: tuple[tuple[int, ...], ...] = ()
    """Pieces of evidence; of each the turns that hold it."""
    unordered: bool = False
    hard: bool = True
    """Whether a short cut gets it wrong: the last mention, the last state, the turn that is named."""

    @property
    def depth(self) -> int:
        """The step around which the evidence lies."""
        steps = sorted(piece[0] for piece in self.needle)
        return steps[len(steps) // 2] if steps else 0


def steps(*found: int) -> tuple[tuple[int, ...], ...]:
    """A needle of single turns, each of them needed."""
    return tuple((step,) for step in sorted(set(found)))
