"""Who is attacked, and the pipeline around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from agentdojo.agent_pipeline import (
    AbortAgentError,
    AgentPipeline,
    BasePipelineElement,
    InitQuery,
    SystemMessage,
    ToolsExecutionLoop,
    ToolsExecutor,
)
from agentdojo.agent_pipeline.agent_pipeline import load_system_message
from agentdojo.base_tasks import BaseInjectionTask, BaseUserTask
from agentdojo.functions_runtime import TaskEnvironment
from agentdojo.task_suite import TaskSuite

from posttrain.bench.agentdojo.defences import Elements


class Setting(NamedTuple):
    """What one run is about."""

    user_task: BaseUserTask
    injection_task: BaseInjectionTask | None
    environment: TaskEnvironment
    """With the injections in it; not to be changed."""


@dataclass(frozen=True)
class Agent:
    """Who carries out the user's task."""

    name: str
    build: Callable[[Setting], BasePipelineElement]
    """The element in the model's place, for one run."""
    turns: int
    """Most rounds of calls."""
    scripted: bool = False
    able: Callable[[TaskSuite, str], bool] = lambda suite, injection_task: True
    """Whether it could carry out an injection task, of a suite by its name; runs of others would look safe."""


def pipeline(model: BasePipelineElement, elements: Elements, turns: int) -> AgentPipeline:
    """AgentDojo's usual pipeline with a defence's elements at their places."""
    loop = ToolsExecutionLoop([*elements.before, ToolsExecutor(), *elements.after, model], turns)
    system = SystemMessage(load_system_message("default"))
    return AgentPipeline([system, InitQuery(), *elements.start, model, loop])


class Watched(BasePipelineElement):
    """A pipeline whose conversations are kept; AgentDojo runs it again where it ends without an answer."""

    def __init__(self, inner: BasePipelineElement) -> None:
        self.inner = inner
        self.conversations: list[Sequence[Any]] = []

    def query(self, *given: Any, **named: Any) -> Any:
        """Run it."""
        try:
            answer = self.inner.query(*given, **named)
        except AbortAgentError as aborted:
            self.conversations.append(aborted.messages)
            raise
        self.conversations.append(answer[3])
        return answer
