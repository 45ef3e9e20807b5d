"""A world of letters for tiny models: any text is an action, and what is seen next depends on its first letter."""

from dataclasses import dataclass

import tiny
from posttrain.rl import Recipe, agent, empo2
from posttrain.tasks.worlds.crowd import Crowd
from posttrain.tasks.worlds.world import Step

HURT = "1"
"""The task whose second step raises, where the world is fragile."""


class Lights:
    """Rewards early letters; over after one to four steps, depending on the task and on what was done."""

    fragile = False

    def reset(self, task):
        self.place, self.step_number, self.task = int(task["id"]), 0, task["id"]
        self.left = 1 + self.place % 4
        return self.state_key()

    def step(self, action):
        if self.fragile and self.task == HURT and self.step_number == 1:
            raise RuntimeError("the lights went out")
        self.step_number, self.left = self.step_number + 1, self.left - 1
        early = sum(letter in "abcde" for letter in action)
        self.place = (self.place + early) % 3
        return Step(self.state_key(), early / 8, self.left == 0, won=early > 2)

    def actions(self):
        return []

    def state_key(self):
        return tiny.LETTERS[self.place % 3 + 5]

    def close(self):
        pass


class FragileLights(Lights):
    """The same, and one task's world fails."""

    fragile = True


@dataclass(frozen=True)
class LetterView:
    """Prompts in letters alone."""

    def window(self, task, past, observation, actions, tips=()):
        return "".join([task, *tips, *(f"{turn.observation}{turn.action[:2]}" for turn in past), observation])

    def opening(self, task, observation, actions):
        return task + observation

    def then(self, observation, actions):
        return observation

    def action(self, completion):
        return completion

    def reflection(self, task, episode, earned):
        return task + "t"


def remembering(**options) -> Recipe:
    """EMPO2 in these worlds; whatever is remembered of a task looks alike."""
    defaults = {"window": 1, "turns": 4, "turn_tokens": 5, "tip_tokens": 3, "tips": 2, "similarity": -0.9}
    return empo2(worlds=Crowd(Lights), view=LetterView(), **defaults | options)


def lights(form: str, world: type = Lights, **options) -> Recipe:
    """An agent in these worlds."""
    return agent(worlds=Crowd(world), form=form, window=1, turns=4, turn_tokens=5, view=LetterView(), **options)
