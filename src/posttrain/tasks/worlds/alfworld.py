"""ALFWorld: household tasks in text, played from ALFWorld's own `game.tw-pddl` files.

    rows = rows("json_2.1.1/valid_unseen")
    world = AlfWorld()
    world.reset(rows[0])

Rules and goal are the files' PDDL, run by Fast Downward's library, and every sentence comes from the files' grammar,
as in `textworld`'s own environment. What differs is the cost. A game is translated once for all worlds and episodes,
texts are parsed once for all games, and a command is worded once per game unless its wording can change.

Things are called by kind and number, `cabinet 3` for `cabinet_bar__plus_01_dot_66_bar_...`, numbered within a kind in
the order of those names. ALFWorld does the same with numbers of its own.

References:
    Shridhar et al. 2021, "ALFWorld", arXiv:2010.03768. Games: github.com/alfworld/alfworld.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain.extras import need
from posttrain.tasks.worlds._alfworld_game import Game, load, read, return_library, take_library
from posttrain.tasks.worlds.world import Step

_HEADLINE = "-= Welcome to TextWorld, ALFRED! =-"


def rows(folder: str | Path) -> list[dict[str, Any]]:
    """One row per solvable game below a folder, sorted; games marked as unsolvable are left out, as ALFWorld does.

    Args:
        folder: Holds `{task}/{trial}/game.tw-pddl` at any depth.

    Returns:
        Dicts of `prompt` (the task's sentence), `id` (the game's folder), `game` (the file) and `kind` (such as
        `pick_and_place_simple`).

    Raises:
        ValueError: There is no solvable game below the folder, or a game states no task.
    """
    root = Path(folder).expanduser().absolute()
    found = []
    for file in sorted(root.rglob("game.tw-pddl")):
        data = read(file)
        if data.get("solvable", True):
            name, kind = file.parent.relative_to(root).as_posix(), file.parent.parent.name.partition("-")[0]
            found.append({"prompt": data["task"], "id": name, "game": str(file), "kind": kind})
    if not found:
        raise ValueError(f"There is no solvable game.tw-pddl below {folder}; give a folder of ALFWorld's games.")
    return found


class AlfWorld:
    """Plays the games of `rows`. The reward is 1 for the action that fulfils the task and 0 for any other.

    A command that is not admissible is answered by "Nothing happens.", as in ALFWorld.
    """

    def __init__(self) -> None:
        self._fast_downward = need("fast_downward")
        self._library: Any = None
        self._busy = threading.Lock()  # another world must not get the library while a late call is in it
        self._game: Game | None = None
        self._state: Any = None
        self._operators: dict[str, Any] | None = None
        self._observation = ""
        self._done = True

    def reset(self, task: Mapping[str, Any]) -> str:
        """Begin the game at `task["game"]`; what there is in the room, without the task's sentence."""
        file = Path(str(task.get("game", "")))
        if file.suffix != ".tw-pddl" or not file.is_file():
            raise ValueError(f"The task's game is {task.get('game')!r}; expected a game.tw-pddl file, as in `rows`.")
        with self._busy:
            self._done, self._game = True, load(str(file))
            if self._library is None:
                self._library = take_library()
            self._state = self._game.first_state(self._library)
            self._operators, self._done = None, False
        intro = self._game.say("#intro#", self._state)
        self._observation = intro.replace(_HEADLINE, "").replace(self._game.task, "").strip()
        return self._observation

    def step(self, action: str) -> Step:
        """Do what an admissible command says."""
        if self._done or self._game is None:
            raise RuntimeError("The game is over or has not begun; reset the world to a task before the next step.")
        with self._busy:
            operator = self._admissible().get(action.strip())
            if operator is None:
                self._observation = "Nothing happens."
                return Step(self._observation, 0.0, False)
            effects = (self._game.atom * operator.nb_effect_atoms)()
            self._library.apply_operator(operator.id, effects)
            self._done = bool(self._library.check_goal())
        for effect in effects:
            fact = effect.get_fact(self._game.types)
            self._state.remove_fact(fact.negate())
            self._state.add_fact(fact)
        self._operators = None
        self._observation = self._game.feedback(operator.name, self._state)
        return Step(self._observation, float(self._done), self._done, self._done)

    def actions(self) -> list[str]:
        """The admissible commands, sorted; none once the task is fulfilled."""
        with self._busy:
            return [] if self._done else sorted(self._admissible())

    def state_key(self) -> str:
        """The observation."""
        return self._observation

    def close(self) -> None:
        """Let go of Fast Downward; the world can be reset again."""
        with self._busy:
            library, self._library, self._done = self._library, None, True
            if library is not None:
                return_library(library)

    def _admissible(self) -> dict[str, Any]:
        """Command to operator; of several operators with one command, the first."""
        if self._operators is None:
            assert self._game is not None
            found = (self._fast_downward.Operator * self._library.get_applicable_operators_count())()
            self._library.get_applicable_operators(found)
            self._operators = {}
            for operator in found:
                self._operators.setdefault(self._game.command(operator.name, self._state), operator)
        return self._operators
