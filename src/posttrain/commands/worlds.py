"""The worlds that `posttrain train` knows by name: what to play, and how each episode is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

WorldName = Literal["corridor", "coin-collector", "treasure-hunter", "cooking", "twc", "scienceworld", "alfworld"]
NAMES: tuple[str, ...] = get_args(WorldName)


@dataclass(frozen=True)
class WorldOptions:
    """Which games of a world to play."""

    games: int = 100
    """Games made by code, from as many seeds; at most so many of those that are files or variations."""
    repeat: int = 1
    """How often each game stands in the data, for more prompts in a generation than there are games."""
    level: int = 5
    """Of coin-collector (1 to 300) and treasure-hunter (1 to 30); of the others, nothing."""
    name: str = ""
    """Of scienceworld: its task, such as `power-component`, empty for all 30. Of twc: `easy`, `medium` or `hard`."""
    simplification: str = ""
    """Of scienceworld: names with commas, such as `openDoors,teleportAction`; `easy` for the paper's set of them."""
    folder: Path | None = None
    """Of twc and alfworld: where their games are."""
    deadline: float = 60.0
    """Seconds that one step may take; a later episode is dropped."""
    chat: bool | None = None
    """Whether prompts are chat messages; by default if the model has a chat template."""
    list_actions: bool = True
    """Show the admissible actions at every turn."""
    reply: str = "Answer with the action alone, on one line."
    """Ends every chat prompt; an action between <action> and </action> is read from a longer answer."""

    def __post_init__(self) -> None:
        for name in ("games", "repeat"):
            if getattr(self, name) < 1:
                raise ValueError(f"--world.{name} {getattr(self, name)} must be at least 1.")


class Played(NamedTuple):
    """What there is to play."""

    rows: list[dict[str, Any]]
    """One per game."""
    make: Callable[[], Any]
    """Makes one world."""


def played(world: str, options: WorldOptions) -> Played:
    """The games of a world; a sentence for what is missing."""
    seeds = range(options.games)
    if world == "corridor":
        from posttrain.tasks.worlds.corridor import Corridor, corridors

        return Played(corridors(min(options.games, 32), seed=0), Corridor)
    if world == "scienceworld":
        from posttrain.tasks.worlds import scienceworld

        names = [options.name] if options.name else scienceworld.task_names()
        rows = scienceworld.rows(names, limit=-(-options.games // len(names)), simplification=options.simplification)
        return Played(rows[: options.games], scienceworld.ScienceWorld)
    if world == "alfworld":
        from posttrain.tasks.worlds import alfworld

        return Played(alfworld.rows(_folder(world, options))[: options.games], alfworld.AlfWorld)
    from posttrain.tasks.worlds import textworld

    rows = {
        "coin-collector": lambda: textworld.coin_collector(options.level, seeds),
        "treasure-hunter": lambda: textworld.treasure_hunter(options.level, seeds),
        "cooking": lambda: textworld.cooking(seeds),
        "twc": lambda: textworld.twc(_folder(world, options), _level(options))[: options.games],
    }[world]()
    return Played(rows, textworld.TextWorld)


def _folder(world: str, options: WorldOptions) -> Path:
    if options.folder is None:
        raise ValueError(f"--task {world} plays games that are files; say where they are with --world.folder.")
    return options.folder


def _level(options: WorldOptions) -> Any:
    return options.name or "easy"
