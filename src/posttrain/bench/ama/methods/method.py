"""What every method does, and the list of all."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from posttrain.memory.rows import Turn


class Method(Protocol):
    """Takes a log once, and is then asked."""

    def build(self, turns: Sequence[Turn]) -> None:
        """Take up a whole log; it forgets any other."""
        ...

    def retrieve(self, question: str, k: int, tokens: int | None = None) -> list[int]:
        """Numbers of the turns that bear on a question, the best first, none twice.

        Args:
            question: Its text.
            k: At most so many turns.
            tokens: At most so many tokens together, four characters each; None is no limit.
        """
        ...

    def stored(self, wanted: Sequence[int]) -> list[Turn]:
        """What it has kept of some turns."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Raw:
    """What methods share that keep the turns themselves."""

    def __init__(self) -> None:
        self.turns: dict[int, Turn] = {}

    def build(self, turns: Sequence[Turn]) -> None:
        """Take up a whole log; it forgets any other."""
        self.turns = {turn.turn: turn for turn in sorted(turns, key=lambda turn: turn.turn)}

    def stored(self, wanted: Sequence[int]) -> list[Turn]:
        """The turns as they came."""
        return [self.turns[number] for number in sorted(set(wanted)) if number in self.turns]

    def fitting(self, ranked: Sequence[int], k: int, tokens: int | None) -> list[int]:
        """The first turns of a ranking, as many as the budget has room for."""
        found, room = [], tokens
        for number in ranked[: max(k, 0)]:
            if room is not None:
                room -= (len(self.turns[number].action) + len(self.turns[number].observation)) // 4
                if room < 0 and found:
                    break
            found.append(number)
        return found

    def close(self) -> None:
        """There is nothing to let go of."""


class Entry(NamedTuple):
    """A method in the list."""

    make: Callable[[], Method]
    note: str
    """What it is, in one line."""
    modules: tuple[str, ...] = ()
    """What must be installed for it."""
    ablation: bool = False
    readers_only: bool = False
    """Whether it makes sense only for a reader with a budget of tokens."""

    @property
    def missing(self) -> list[str]:
        """Modules that cannot be found."""
        return [module for module in self.modules if importlib.util.find_spec(module) is None]
