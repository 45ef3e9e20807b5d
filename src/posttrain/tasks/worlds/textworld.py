"""TextWorld: text games that are made from a seed, and the games of TextWorld Commonsense (TWC).

    rows = coin_collector(10, seeds=range(100))      # compiled once, into a cache folder
    world = TextWorld()
    world.reset(rows[0])

What the game prints is cleaned before an agent sees it: the banner, TextWorld's own tags and the status line go,
because that line counts the moves and would make every observation different. Admissible actions are worked out when
they are asked for, from the events that the game reports, and kept per game and situation for all worlds and
episodes that come there. A step is then little more than the game's interpreter.

References:
    Côté et al. 2018, "TextWorld", arXiv:1806.11532. Coin collector: Yuan et al. 2018, arXiv:1806.11525. TWC: Murugesan
    et al. 2021, arXiv:2010.03790.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from posttrain.extras import need
from posttrain.tasks.worlds._game_cache import cached_row
from posttrain.tasks.worlds._situations import Situation, after, begin, commands
from posttrain.tasks.worlds.world import Step

_TAG = re.compile(r"<(score|moves)>\n(-?\d+)\n</\1>\n?")
_EVENT = re.compile(r"\[([^\]]+?)( - succeeded| - failed[^\]]*)?\]\n?")
_WON, _LOST = "*** The End ***", "*** You lost! ***"
_LONGEST = 190  # characters of a command that the interpreter takes
_UNTYPABLE = re.compile(r"[^A-Za-z0-9 ',.-]")  # a backslash, among others, speaks to the interpreter, which may crash
_NOT_FOR_AGENTS = {"save", "restore", "restart", "quit", "q", "script", "transcript", "restrict"}


class TextWorld:
    """Plays the games of the rows below, or any row whose `game` is a `.z8` file with TextWorld's `.json` beside it.

    The reward of a step is the change of the game's score, so that an episode's rewards sum to its score. An episode
    ends when the game is won or lost. Commands about the game itself (`save`, `quit`, ...) are answered as unknown.
    """

    def __init__(self) -> None:
        need("textworld")
        self._jericho = need("textworld.envs.zmachine.jericho").jericho
        self._emulator: Any = None
        self._path = ""
        self._observation = ""
        self._done = True
        self._score = 0
        self._situation: Situation | None = None
        self._events: list[str] = []  # since `_situation`

    def reset(self, task: Mapping[str, Any]) -> str:
        """Begin the game at `task["game"]`; the description of the first room, without the objective."""
        self._done, path = True, _game_path(task)
        if self._emulator is None or path != self._path:
            self.close()
            self._emulator, self._path = self._jericho.FrotzEnv(path), path
        intro, _ = self._emulator.reset()
        for command in ("tw-extra-infos score", "tw-trace-actions"):
            self._emulator.step(command)
        self._done, self._score, self._situation, self._events = False, 0, None, []
        self._observation = _clean(intro[max(intro.find("-= "), 0) :])
        return self._observation

    def step(self, action: str) -> Step:
        """Type a command."""
        if self._done:
            raise RuntimeError("The game is over or has not begun; reset the world to a task before the next step.")
        printed, *_ = self._emulator.step(_typed(action))
        score = next((int(value) for tag, value in _TAG.findall(printed) if tag == "score"), self._score)
        self._events += [event for event, end in _EVENT.findall(printed) if end == " - succeeded" and "(" not in event]
        self._observation = _clean(printed)
        won = _WON in printed
        self._done = won or _LOST in printed
        reward, self._score = score - self._score, score
        return Step(self._observation, float(reward), self._done, won)

    def actions(self) -> list[str]:
        """The admissible commands, sorted; none once the game is over."""
        return [] if self._done else list(commands(self.situation()))

    def situation(self) -> Situation:
        """The game and the facts that hold in it; not all there is, as a game may reward a thing only once."""
        situation = self._situation or begin(self._path)
        for event in self._events:
            situation = after(situation, event)
        self._situation, self._events = situation, []
        return situation

    def state_key(self) -> str:
        """The observation."""
        return self._observation

    def close(self) -> None:
        """Let go of the interpreter; the world can be reset again."""
        self._emulator, self._done = None, True


def coin_collector(
    level: int, seeds: Iterable[int], *, directions: bool = False, cache: str | Path | None = None
) -> list[dict[str, Any]]:
    """One row per seed of Coin Collector: walk to the room with the coin and take it.

    Args:
        level: 1 to 100 for as many rooms in a chain. 101 to 150 add a dead end per room, 201 to 233 two, the chain
            having `level % 100` rooms. TextWorld builds at most 100 rooms.
        seeds: One game each; keep those for training and for evaluation apart.
        directions: Let the objective tell the whole way, as `tw-make` does, instead of the last action.
        cache: Where compiled games are kept; `$POSTTRAIN_CACHE/games` or `~/.cache/posttrain/games` if left out.

    Returns:
        Dicts of `prompt` (the objective), `id`, `game` (the compiled file) and `max_score`.

    Raises:
        ValueError: There is no such level.
    """
    _check_level(level, 300)
    return _challenge("coin_collector", {"level": level}, f"level{level}", seeds, directions, cache)


def treasure_hunter(
    level: int, seeds: Iterable[int], *, directions: bool = False, cache: str | Path | None = None
) -> list[dict[str, Any]]:
    """One row per seed of Treasure Hunter: find one object in a maze; taking another one loses.

    Args:
        level: 1 to 10 for 5 rooms without doors, 11 to 20 for 10 rooms with doors and containers, 21 to 30 for 20
            rooms with locks. The way is longer at higher levels of each.
        seeds: As in `coin_collector`, and so are the others.
        directions: Let the objective tell the whole way.
        cache: Where compiled games are kept.
    """
    _check_level(level, 30)
    return _challenge("treasure_hunter", {"level": level}, f"level{level}", seeds, directions, cache)


def cooking(
    seeds: Iterable[int],
    *,
    recipe: int = 1,
    take: int = 0,
    go: Literal[1, 6, 9, 12] = 1,
    open: bool = False,
    cook: bool = False,
    cut: bool = False,
    drop: bool = False,
    split: Literal["train", "valid", "test"] = "train",
    cache: str | Path | None = None,
) -> list[dict[str, Any]]:
    """One row per seed of the Cooking game: read the recipe, prepare the meal and eat it.

    Args:
        seeds: As in `coin_collector`.
        recipe: Ingredients of the recipe, 1 to 5.
        take: Ingredients that must be found, at most `recipe`.
        go: Rooms.
        open: Whether containers and doors are closed.
        cook: Whether ingredients must be cooked.
        cut: Whether ingredients must be cut.
        drop: Whether the inventory is limited.
        split: The ingredients and ways to prepare them that TextWorld keeps for `train`, `valid` or `test`.
        cache: Where compiled games are kept.

    Raises:
        ValueError: Settings that exclude each other, or a number or split that does not exist.
    """
    if not 1 <= recipe <= 5 or not 0 <= take <= recipe:
        raise ValueError(f"recipe is {recipe} and take is {take}; expected 1 <= recipe <= 5 and 0 <= take <= recipe.")
    if go not in (1, 6, 9, 12) or split not in ("train", "valid", "test"):
        raise ValueError(f"go is {go} and split is {split!r}; expected 1, 6, 9 or 12, and 'train', 'valid' or 'test'.")
    skills = {"open": open, "cook": cook, "cut": cut, "drop": drop}
    settings = {"recipe": recipe, "take": take, "go": go, **skills, "split": split, "recipe_seed": 0}
    name = "-".join([f"recipe{recipe}", f"take{take}", f"go{go}", *(key for key, on in skills.items() if on), split])
    return _challenge("cooking", settings, name, seeds, False, cache)


def twc(
    folder: str | Path,
    level: Literal["easy", "medium", "hard"] = "easy",
    split: Literal["train", "valid", "test"] = "train",
    *,
    cache: str | Path | None = None,
) -> list[dict[str, Any]]:
    """One row per TWC game `{folder}/{level}/{split}/*.json`: put away what is out of place.

    Args:
        folder: `games/twc` of IBM/commonsense-rl, or a folder laid out like it.
        level: The folder's level.
        split: The level's split.
        cache: Where compiled games are kept.

    Raises:
        ValueError: There is no such game.
    """
    files = sorted(Path(folder).expanduser().joinpath(level, split).glob("*.json"))
    if not files:
        raise ValueError(f"There is no game at {folder}/{level}/{split}/*.json; give the `games/twc` of TWC.")
    return [
        cached_row(f"twc/{level}/{split}/{file.stem}", _read(file), file.read_text(), cache, family="twc")
        for file in files
    ]


def walkthrough(game: str | Path) -> list[str]:
    """Commands that win a game.

    Raises:
        ValueError: The game's maker left none, as for TWC.
    """
    found = json.loads(Path(game).with_suffix(".json").read_text())["metadata"].get("walkthrough")
    if not found:
        raise ValueError(f"{game} came without a walkthrough; coin_collector, treasure_hunter and cooking make them.")
    return found


def _game_path(task: Mapping[str, Any]) -> str:
    path = Path(str(task.get("game", "")))
    if path.suffix != ".z8" or not path.is_file():
        raise ValueError(
            f"The task's game is {task.get('game')!r}; expected a .z8 file, as in the rows of this module."
        )
    return str(path)


def _typed(action: str) -> str:
    """A command that fits the interpreter's one line."""
    command = _UNTYPABLE.sub("", " ".join(action.split()))[:_LONGEST]
    words = re.findall(r"[a-z-]+", command.lower())
    forbidden = any(word in _NOT_FOR_AGENTS or word.startswith("tw-") for word in words)
    return "unknown" if forbidden else command


def _clean(printed: str) -> str:
    """What the game says, without tags, traces, prompt, status line and the count of moves at the end."""
    text = printed.rpartition("\n>")[0] or printed
    text = _EVENT.sub("", _TAG.sub("", text))
    for end in (_WON, _LOST):
        said, found, _ = text.partition(end)
        text = said + found
    return re.sub(r"\n\s*\n", "\n\n", text).strip()


def _check_level(level: int, last: int) -> None:
    if not 1 <= level <= last:
        raise ValueError(f"level is {level}; expected 1 to {last}.")


def _challenge(
    name: str, settings: dict[str, Any], label: str, seeds: Iterable[int], directions: bool, cache: str | Path | None
) -> list[dict[str, Any]]:
    need("textworld")
    maker = need(f"textworld.challenges.tw_{name}.{name}").make

    def make(seed: int) -> Callable[[Any], Any]:
        def game(options: Any) -> Any:
            options.seeds = int(seed)
            options.grammar.only_last_action = not directions
            return maker(settings, options)

        return game

    label = f"{name}-{label}" + "-directions" * directions
    told = json.dumps([settings, directions])
    return [cached_row(f"{label}-seed{seed}", make(seed), told, cache, family=name) for seed in seeds]


def _read(file: Path) -> Callable[[Any], Any]:
    return lambda options: need("textworld").Game.load(str(file))
