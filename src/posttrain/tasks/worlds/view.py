"""How an episode is written down for a model: as plain text, or as chat messages.

Both forms of context are here: a `window` shows the task, the last turns and what is seen now in one prompt; in `full`
form a dialogue is opened once, and only what is seen next is added to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol


class Past(NamedTuple):
    """A turn that lies behind."""

    observation: str
    """What was seen."""
    action: str
    """What was done then."""


class View(Protocol):
    """Writes prompts and reads actions."""

    def window(
        self, task: str, past: Sequence[Past], observation: str, actions: Sequence[str], tips: Sequence[str] = ()
    ) -> Any:
        """One prompt with the task, the last turns and what is seen now."""
        ...

    def opening(self, task: str, observation: str, actions: Sequence[str]) -> Any:
        """The first prompt of a dialogue."""
        ...

    def then(self, observation: str, actions: Sequence[str]) -> Any:
        """What is added after an action of the dialogue."""
        ...

    def action(self, completion: str) -> str:
        """The action in what the model wrote."""
        ...

    def reflection(self, task: str, episode: str, earned: float) -> Any:
        """A prompt that asks for a tip, after an episode."""
        ...


ACTIONS, SEPARATOR = "actions: ", " | "
"""How `TextView` lists the admissible actions."""

_TAGGED = re.compile(r"<action>((?:(?!<action>).)*?)</action>", re.DOTALL)


def read_action(completion: str, line: Literal["first", "last"] = "last") -> str:
    """What stands in the last `<action>` tags, else the first or the last line that is not empty."""
    if tagged := _TAGGED.findall(completion):
        return " ".join(tagged[-1].split())
    lines = [found for found in map(str.strip, completion.splitlines()) if found]
    return (lines[0] if line == "first" else lines[-1]) if lines else ""


@dataclass(frozen=True)
class TextView:
    """Plain text, for small models without a chat template: `> ` stands before every action."""

    list_actions: bool = True
    """Whether the admissible actions are shown."""

    def window(
        self, task: str, past: Sequence[Past], observation: str, actions: Sequence[str], tips: Sequence[str] = ()
    ) -> str:
        """The task, tips, the last turns, what is seen now."""
        lines = [task, *(f"tip: {tip}" for tip in tips)]
        for turn in past:
            lines += [turn.observation, f"> {turn.action}"]
        return "\n".join([*lines, self._seen(observation, actions)])

    def opening(self, task: str, observation: str, actions: Sequence[str]) -> str:
        """The task and what is seen."""
        return f"{task}\n{self._seen(observation, actions)}"

    def then(self, observation: str, actions: Sequence[str]) -> str:
        """A new line and what is seen."""
        return f"\n{self._seen(observation, actions)}"

    def action(self, completion: str) -> str:
        """The first line; what stands after it is the model's guess at the world's answer."""
        return read_action(completion, "first")

    def reflection(self, task: str, episode: str, earned: float) -> str:
        """The episode, what it earned, and a line to go on with."""
        return f"{task}\n{episode}\nearned {earned:g}\ntip: "

    def _seen(self, observation: str, actions: Sequence[str]) -> str:
        shown = f"{observation}\n{ACTIONS}{SEPARATOR.join(actions)}" if self.list_actions and actions else observation
        return f"{shown}\n> "


@dataclass(frozen=True)
class ChatView:
    """Chat messages, for instruction-tuned models."""

    system: str = ""
    """The system message; empty for none."""
    reply: str = "Answer with the action alone, on one line."
    """Ends every user message."""
    list_actions: bool = True
    """Whether the admissible actions are shown."""

    def window(
        self, task: str, past: Sequence[Past], observation: str, actions: Sequence[str], tips: Sequence[str] = ()
    ) -> list[dict[str, str]]:
        """One user message with everything."""
        parts = [f"Your task: {task}"]
        if tips:
            parts.append("Tips from earlier attempts:\n" + "\n".join(f"- {tip}" for tip in tips))
        if past:
            steps = "\n".join(f"Observation: {turn.observation}\nAction: {turn.action}" for turn in past)
            parts.append(f"Your last steps:\n{steps}")
        return [*self._system(), self._user([*parts, *self._seen(observation, actions)])]

    def opening(self, task: str, observation: str, actions: Sequence[str]) -> list[dict[str, str]]:
        """The task and what is seen."""
        return [*self._system(), self._user([f"Your task: {task}", *self._seen(observation, actions)])]

    def then(self, observation: str, actions: Sequence[str]) -> list[dict[str, str]]:
        """A user message with what is seen."""
        return [self._user(self._seen(observation, actions))]

    def action(self, completion: str) -> str:
        """What stands in `<action>` tags, or the last line."""
        return read_action(completion)

    def reflection(self, task: str, episode: str, earned: float) -> list[dict[str, str]]:
        """A user message with the episode, and what is asked for."""
        asked = (
            "In one sentence of fewer than 100 words: what did you do, what have you learnt, and how far from done was "
            "it? Say what to do differently next time."
        )
        said = [f"Your task was: {task}", f"What happened:\n{episode}", f"Your score was {earned:g}.", asked]
        return [*self._system(), {"role": "user", "content": "\n\n".join(said)}]

    def _system(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def _user(self, parts: Sequence[str]) -> dict[str, str]:
        return {"role": "user", "content": "\n\n".join([*parts, self.reply])}

    def _seen(self, observation: str, actions: Sequence[str]) -> list[str]:
        listed = ["Admissible actions: " + ", ".join(actions)] if self.list_actions and actions else []
        return [f"Observation: {observation}", *listed]
