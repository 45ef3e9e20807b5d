"""What an agent acts in: a world that is reset to a task and stepped by text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Step(NamedTuple):
    """A world's answer to an action."""

    observation: str
    """What the agent sees now; never empty before the end."""
    reward: float
    """Of this action alone."""
    done: bool
    """Whether the episode is over."""
    won: bool = False
    """Whether the task is solved."""


class World(Protocol):
    """One episode at a time. Several worlds are stepped side by side by a `Crowd`, each by one thread at a time."""

    def reset(self, task: Mapping[str, Any]) -> str:
        """Begin the episode that a data set's row describes; its first observation."""
        ...

    def step(self, action: str) -> Step:
        """Act. An action that is not admissible is answered like any other, commonly by a sentence of the world."""
        ...

    def actions(self) -> list[str]:
        """The admissible actions now, in a stable order; empty if the world does not list them."""
        ...

    def state_key(self) -> str:
        """The state as the agent sees it, commonly the observation: steps of equal key are compared with each other."""
        ...

    def close(self) -> None:
        """Let go of files and processes. A world that is late is closed while its call is still going on."""
        ...
