"""A corridor of junctions that look alike: a lamp says where to turn, and is out of sight when one has to.

    You see a red lamp.      go forward
    A bare corridor.         go forward          `gap` of these
    A junction.              turn left           warm (red, orange): left, cold (blue, green): right
    ...                                          `legs` times
    A garden.                the reward, 10; a wrong turn leads back to the lamp of its leg

All junctions have one observation, so the state that an agent sees does not say which turn is right: the lamp stands
`gap` + 1 observations back. With `aliased=False` every observation names its leg and its lamp, and nothing is hidden.

References:
    The T-maze of Bakker 2002, "Reinforcement learning with long short-term memory".
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from posttrain.tasks.dataset import prompt_id
from posttrain.tasks.draw import Split, distinct
from posttrain.tasks.worlds.world import Step

TASK = "Reach the garden."
"""The rule is to be found by trying."""
FORWARD, LOOK, LEFT, RIGHT = "go forward", "look around", "turn left", "turn right"
TURN = {"red": LEFT, "orange": LEFT, "blue": RIGHT, "green": RIGHT}
REWARD = 10.0
"""Of the garden."""
TOKENS = (
    TASK, "You see a ", *TURN, " lamp.", "A bare corridor.", "A junction.", "A garden.", "You cannot do that here. ",
    FORWARD, LOOK, LEFT, RIGHT, "\n", "> ", " Leg ", ", ", " lamp, place ", ".", *"0123456789",
)  # fmt: skip
"""Every token of what a model reads and writes in `TextView(list_actions=False)`."""


def corridors(
    n: int, *, seed: int, legs: int = 3, gap: int = 1, aliased: bool = True, split: Split = "train"
) -> list[dict[str, Any]]:
    """Rows of distinct corridors; the same arguments give the same rows.

    Args:
        n: Rows wanted; there are 4^legs corridors, about a third of them for `eval`.
        seed: Of the draw.
        legs: Junctions on the way, at least 1.
        gap: Bare corridors between a lamp and its junction, at least 0.
        aliased: Whether junctions look alike.
        split: No corridor is in both.

    Returns:
        Dicts of `prompt`, `id` and what `Corridor.reset` reads.
    """
    if legs < 1 or gap < 0:
        raise ValueError(f"legs={legs} must be at least 1 and gap={gap} at least 0.")

    def draw(generator: random.Random) -> str:
        return " ".join(generator.choice(list(TURN)) for _ in range(legs))

    return [
        {
            "prompt": TASK,
            "id": prompt_id(f"{lamps} {gap} {aliased}"),
            "lamps": lamps,
            "gap": gap,
            "aliased": aliased,
        }
        for lamps in distinct(n, draw, seed=seed, split=split)
    ]


class Corridor:
    """The world; thousands of steps per second."""

    def reset(self, task: Mapping[str, Any]) -> str:
        """In front of the first lamp."""
        self._lamps: list[str] = task["lamps"].split()
        self._gap, self._aliased = int(task["gap"]), bool(task["aliased"])
        self._leg, self._place = 0, 0
        return self._observation()

    def step(self, action: str) -> Step:
        """Walk, look around (nothing changes) or turn."""
        if action not in self.actions():
            return Step(f"You cannot do that here. {self._observation()}", 0.0, False)
        if action == FORWARD:
            self._place += 1
        elif action != LOOK:
            if TURN[self._lamps[self._leg]] != action:
                self._place = 0
                return Step(self._observation(), 0.0, False)
            self._leg, self._place = self._leg + 1, 0
            if self._leg == len(self._lamps):
                return Step("A garden.", REWARD, True, won=True)
        return Step(self._observation(), 0.0, False)

    def actions(self) -> list[str]:
        """Two at any place."""
        return [LEFT, RIGHT] if self._at_junction else [FORWARD, LOOK]

    def state_key(self) -> str:
        """The observation."""
        return self._observation()

    def close(self) -> None:
        """Nothing to let go of."""

    @property
    def _at_junction(self) -> bool:
        return self._place == self._gap + 1

    def _observation(self) -> str:
        lamp = self._lamps[self._leg]
        places = [f"You see a {lamp} lamp.", *["A bare corridor."] * self._gap, "A junction."]
        seen = places[self._place]
        return seen if self._aliased else f"{seen} Leg {self._leg + 1}, {lamp} lamp, place {self._place}."
