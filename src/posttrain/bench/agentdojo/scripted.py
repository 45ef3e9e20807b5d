"""The scripted agent: it carries out the user task's known solution, and that of an injection as soon as it reads it.

It obeys every injection that it recognises (obedience 1, declared): it shows the mechanics of attacks and defences, and
says nothing about models. It keeps no state, so a defence may run it again on a changed conversation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agentdojo.agent_pipeline import BasePipelineElement
from agentdojo.functions_runtime import FunctionCall
from agentdojo.task_suite import TaskSuite
from agentdojo.types import ChatAssistantMessage, get_text_content_as_str, text_content_block_from_string

from posttrain.bench.agentdojo.agents import Agent, Setting

NAME = "scripted, obedience 1"
TURNS = 60
"""Solutions of a user task and of an injection have up to 22 calls, and each is a round."""


def scripted() -> Agent:
    """The agent."""
    return Agent(NAME, Script, TURNS, scripted=True, able=has_solution)


def has_solution(suite: TaskSuite, injection_task: str) -> bool:
    """Whether AgentDojo gives calls or an answer that carry out an injection task; for some it gives none."""
    task = suite.injection_tasks[injection_task]
    return bool(task.GROUND_TRUTH_OUTPUT or task.ground_truth(suite.load_and_inject_default_environment({})))


class Script(BasePipelineElement):
    """The agent in one run."""

    name = NAME

    def __init__(self, setting: Setting) -> None:
        user, injection, environment = setting
        # A solution reads the environment as the task begins with it, and some tasks change it first.
        begun = user.init_environment(environment.model_copy(deep=True))
        self.answer = user.GROUND_TRUTH_OUTPUT
        self.calls = _named("user", user.ground_truth(begun))
        self.goal = _plain(injection.GOAL) if injection else ""
        self.injected_answer = injection.GROUND_TRUTH_OUTPUT if injection else ""
        self.injected = _named("injection", injection.ground_truth(begun)) if injection else []

    def query(
        self, query: str, runtime: Any, env: Any = None, messages: Sequence[Any] = (), extra_args: Any = None
    ) -> tuple[str, Any, Any, Sequence[Any], dict[str, Any]]:
        """Add the next call, or the answer."""
        asked = {call.id for message in messages for call in message.get("tool_calls") or ()}
        obeys = self.reads_goal(messages)
        plan = [*(self.injected if obeys else ()), *self.calls]
        call = next((call for call in plan if call.id not in asked), None)
        answers = [self.answer, *([self.injected_answer] if obeys else ())]
        text = "" if call else "\n".join(filter(None, answers))
        reply = ChatAssistantMessage(
            role="assistant", content=[text_content_block_from_string(text)], tool_calls=[call] if call else None
        )
        return query, runtime, env, [*messages, reply], extra_args or {}

    def reads_goal(self, messages: Sequence[Any]) -> bool:
        """Whether a tool's result holds the injection's goal."""
        results = (get_text_content_as_str(m["content"]) for m in messages if m["role"] == "tool")
        return bool(self.goal) and any(self.goal in _plain(text) for text in results)


def _named(who: str, calls: Sequence[FunctionCall]) -> list[FunctionCall]:
    return [call.model_copy(update={"id": f"{who}-{number}"}) for number, call in enumerate(calls)]


def _plain(text: str) -> str:
    """Letters and digits alone: tools quote, fold and escape texts as YAML."""
    return re.sub(r"[\W_]+", "", re.sub(r"\\[nrt]", " ", text)).lower()
