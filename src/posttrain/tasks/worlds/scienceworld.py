"""ScienceWorld: 30 school experiments in a house of rooms, simulated in Java.

    train = rows("boil", split="train", simplification="easy")
    world = ScienceWorld()
    world.reset(train[0])

The simulator is called directly. Its Python wrapper asks for the room, the inventory, the task and all valid actions
after every step; here a step asks for the observation, the score and the end, and `actions` for the actions.

Worlds share one Java process although the simulator keeps three things for all of them: the random numbers, the
counter of new objects and the simplifications. Each world's own are put in place before each of its calls, and only
one world of a process is served at a time. With one hash for all Java objects (`-XX:hashCode=2`), which otherwise
orders what a room is said to hold by chance, the same actions always give the same episode.

Differs from the wrapper: random numbers (bees, ambiguous names) are drawn anew for every step, from the task, the
variation and the number of the step, so that asking for actions does not change what happens.

References:
    Wang et al. 2022, "ScienceWorld", arXiv:2203.07540. Simulator: scienceworld 1.2.3.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from posttrain.extras import need
from posttrain.tasks.worlds._scienceworld_java import Java, borrow, borrowed, check_java, give_back
from posttrain.tasks.worlds.world import Step

Split = Literal["train", "dev", "test"]


class ScienceWorld:
    """Acts in a task's variation.

    The reward of a step is the change of the score in ScienceWorld's points, from 0 to 100; what the score is at the
    beginning, commonly 0, is nobody's reward. A mistake that ends the task, such as focusing on the wrong object, sets
    the score to -100. There is no limit of steps.

    Args:
        java: Number of the Java process to act in. Worlds of one number take turns, those of different numbers run
            side by side, at about 0.5 GB of memory and a second to start for each process.

    Raises:
        ImportError: The package is not installed.
        FileNotFoundError: Java is not installed.
    """

    def __init__(self, *, java: int = 0) -> None:
        check_java()
        self._number = java
        self._java: Java | None = None
        self._simulator: Any = None
        self._random = random.Random()
        self._seed, self._count, self._simplifications = 0, 0, ""
        self._observation = ""
        self._actions: list[str] | None = None
        self._score = 0
        self._done, self._calling = True, False

    def reset(self, task: Mapping[str, Any]) -> str:
        """Begin `task["task"]`, `task["variation"]` and, if given, `task["simplification"]`; what the room holds."""
        self._done = True
        name, variation, simplification = _asked(task)
        if self._java is None:
            self._java = borrow(self._number)
            self._simulator = self._java.simulator()
        with self._turn() as java:
            self._simplifications = java.load(self._simulator, name, variation, simplification)
        self._random = random.Random(f"{name} {variation}")
        self._score, self._done = 0, False
        return self.step("look around").observation

    def step(self, action: str) -> Step:
        """Do an action in words."""
        if self._done:
            raise RuntimeError("The task is over or has not begun; reset the world to a task before the next step.")
        self._seed, self._actions = self._random.getrandbits(48), None
        with self._turn():
            self._observation = self._simulator.step(action)
            score = round(100 * self._simulator.getScore())
            self._done = self._simulator.getCompleted() or score < 0
        reward, self._score = score - self._score, score
        return Step(self._observation, float(reward), self._done, self._done and score == 100)

    def actions(self) -> list[str]:
        """The valid actions, sorted, commonly some hundreds; none once the task is over."""
        if self._done:
            return []
        if self._actions is None:
            with self._turn() as java:
                self._actions = java.texts(self._simulator.getValidActionObjectCombinations())
        return list(self._actions)

    def state_key(self) -> str:
        """The observation."""
        return self._observation

    def close(self) -> None:
        """Let go of the simulator; the last world ends its Java process. The world can be reset again.

        In the middle of a call, which another thread waits for, the process is ended at once: whatever hangs there
        holds up all of its worlds, which so fail together instead of one deadline after the other.
        """
        java, self._java, self._done = self._java, None, True
        if java is None:
            return
        try:
            if self._calling:
                java.kill()
            else:
                java.release(self._simulator)
        finally:
            give_back(java)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Java]:
        """Have the process alone, with what it keeps for all worlds as this one left it."""
        java = self._java
        assert java is not None
        try:
            with java.lock:
                self._calling = True
                java.put(self._seed, self._count, self._simplifications)
                yield java
                self._count = java.count()
                self._calling = False
        except need("py4j.protocol").Py4JNetworkError as error:
            raise RuntimeError("ScienceWorld's Java process has ended; close this world and make another.") from error


def task_names() -> list[str]:
    """The 30 tasks, in the order of the paper's table."""
    return list(need("scienceworld").constants.ID2TASK.values())


def variations(task: str) -> dict[Split, list[int]]:
    """The variations of each of a task's splits, which are ScienceWorld's own: about 50, 25 and 25 percent."""
    _check_task(task)
    with borrowed() as java:
        return _variations(java, task)


def rows(
    tasks: str | Iterable[str], *, split: Split = "train", simplification: str = "", limit: int | None = None
) -> list[dict[str, Any]]:
    """One row per variation, at about 0.05 seconds each.

    Args:
        tasks: One or more of `task_names()`.
        split: `train`, `dev` or `test`.
        simplification: Names with commas, such as `openDoors,teleportAction`; `easy` for the paper's set of them.
        limit: First variations of each task only (EMPO²: 5 for training, 20 for tests).

    Returns:
        Dicts of `prompt` (the task's description), `id`, `task`, `variation` and `simplification`.

    Raises:
        ValueError: No such task, split or simplification.
        FileNotFoundError: Java is not installed.
    """
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    for name in names:
        _check_task(name)
    if split not in ("train", "dev", "test"):
        raise ValueError(f"split is {split!r}; expected 'train', 'dev' or 'test'.")
    found = []
    with borrowed() as java:
        for name in names:
            for variation in _variations(java, name)[split][:limit]:
                java.load(java.clerk, name, variation, simplification)
                identity = f"{name}-{variation}" + f"-{simplification}" * bool(simplification)
                row = {"prompt": java.clerk.getTaskDescription(), "id": identity, "task": name, "variation": variation}
                found.append(row | {"simplification": simplification})
    return found


def _check_task(task: str) -> None:
    if task not in task_names():
        raise ValueError(f"There is no task {task!r} in ScienceWorld; the tasks are {', '.join(task_names())}.")


def _asked(task: Mapping[str, Any]) -> tuple[str, int, str]:
    name, variation, simplification = task.get("task"), task.get("variation"), task.get("simplification", "")
    if not isinstance(name, str) or not isinstance(variation, int) or not isinstance(simplification, str):
        raise ValueError(
            f"The row has task={name!r}, variation={variation!r} and simplification={simplification!r}; expected a "
            "name, a whole number and names with commas, as in `rows`."
        )
    _check_task(name)
    return name, variation, simplification


def _variations(java: Java, task: str) -> dict[Split, list[int]]:
    clerk = java.clerk
    java.load(clerk, task, 0, "")
    found: dict[Split, Any] = {
        "train": clerk.getVariationsTrain(),
        "dev": clerk.getVariationsDev(),
        "test": clerk.getVariationsTest(),
    }
    return {split: java.numbers(numbers) for split, numbers in found.items()}
