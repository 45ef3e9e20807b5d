"""Situations of TextWorld's games, what can be done in them and what follows.

A situation is a game and the facts that hold in it. Both answers are kept for all worlds and episodes.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.extras import need

PARSERS = threading.RLock()
"""Held while TextWorld's parsers work, which are not made for threads."""


@dataclass(frozen=True, eq=False)
class Game:
    """A game's logic and names, read once; equal to itself only."""

    game: Any
    """TextWorld's `Game`."""
    commands_of: Callable[[Iterable[Any]], list[str]]
    """Words actions as commands."""
    action_of: Callable[[str, Iterable[Any]], Any]
    """Finds the action that the game reports as an event; None if it changes nothing."""


class Situation(NamedTuple):
    """A moment of a game."""

    game: Game
    facts: frozenset[Any]
    """What holds."""


@functools.lru_cache(maxsize=64)
def begin(path: str) -> Situation:
    """The first situation of a compiled game."""
    with PARSERS:
        game = need("textworld").Game.load(str(Path(path).with_suffix(".json")))
        inform = need("textworld.generator.inform7").Inform7Game(game)
    rules = Game(game, inform.gen_commands_from_actions, inform.detect_action)
    return Situation(rules, frozenset(game.world.state.facts))


@functools.lru_cache(maxsize=4096)
def commands(situation: Situation) -> tuple[str, ...]:
    """The admissible commands, sorted."""
    return tuple(sorted(set(situation.game.commands_of(_applicable(situation)))))


@functools.lru_cache(maxsize=4096)
def after(situation: Situation, event: str) -> Situation:
    """The situation after an event, such as `going south`."""
    action = situation.game.action_of(event, _applicable(situation))
    if action is None:
        return situation
    state = _state(situation)
    state.apply(action)
    return Situation(situation.game, frozenset(state.facts))


def _state(situation: Situation) -> Any:
    return need("textworld.logic").State(situation.game.game.kb.logic, situation.facts)


def _applicable(situation: Situation) -> list[Any]:
    knowledge = situation.game.game.kb
    rules, constants = knowledge.rules.values(), knowledge.types.constants_mapping
    return list(_state(situation).all_applicable_actions(rules, constants))
