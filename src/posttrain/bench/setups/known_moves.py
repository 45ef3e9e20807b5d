"""Coin Collector at the speed of a dictionary: what a command leads to is played once, and known to all runs.

In these games nothing but the situation and the command decides what is seen and earned. (Games that reward a thing
only the first time, as Cooking does, are no such games.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from posttrain.tasks.worlds.textworld import TextWorld
from posttrain.tasks.worlds.world import Step


class Known(NamedTuple):
    """What a command led to."""

    step: Step
    actions: list[str]
    situation: Any
    """As `TextWorld.situation` gives it."""


BOOK: dict[tuple[str, Any, str], Known] = {}
"""Game, situation and command to what followed; no situation and no command before the first."""


class KnownMoves:
    """A `TextWorld` that is asked only about commands that nobody has tried where they are tried now."""

    def __init__(self) -> None:
        self._world = TextWorld()
        self._behind = True
        """Whether the world is not where the episode is."""

    def reset(self, task: Mapping[str, Any]) -> str:
        """Begin a game."""
        self._task, self._moves, self._behind = task, list[str](), True
        key = (str(task["game"]), None, "")
        if key not in BOOK:
            BOOK[key] = self._seen(Step(self._world.reset(task), 0.0, False))
            self._behind = False
        self._now = BOOK[key]
        return self._now.step.observation

    def step(self, action: str) -> Step:
        """Look the command up, or play it."""
        if self._now.step.done:
            raise RuntimeError("The game is over; reset the world to a task before the next step.")
        key = (str(self._task["game"]), self._now.situation, action)
        if key in BOOK:
            self._behind = True
        else:
            self._catch_up()
            BOOK[key] = self._seen(self._world.step(action))
        self._moves.append(action)
        self._now = BOOK[key]
        return self._now.step

    def actions(self) -> list[str]:
        """The admissible commands."""
        return list(self._now.actions)

    def state_key(self) -> str:
        """The observation."""
        return self._now.step.observation

    def close(self) -> None:
        """Let go of the interpreter."""
        self._world.close()
        self._behind = True

    def _catch_up(self) -> None:
        """Bring the world to where the episode is."""
        if self._behind:
            self._world.reset(self._task)
            for move in self._moves:
                self._world.step(move)
            self._behind = False

    def _seen(self, step: Step) -> Known:
        return Known(step, self._world.actions(), self._world.situation())
