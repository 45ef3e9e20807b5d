"""What the bench relies on in AgentDojo: a change there fails here, by name."""

import inspect
import io
from contextlib import redirect_stdout

import pytest

pytest.importorskip("agentdojo")

from agentdojo.agent_pipeline import (
    AbortAgentError,
    AgentPipeline,
    BasePipelineElement,
    GroundTruthPipeline,
    InitQuery,
    SystemMessage,
    ToolsExecutionLoop,
    ToolsExecutor,
)
from agentdojo.agent_pipeline.agent_pipeline import load_system_message
from agentdojo.attacks import FixedJailbreakAttack, load_attack
from agentdojo.attacks.attack_registry import ATTACKS
from agentdojo.base_tasks import BaseInjectionTask, BaseUserTask
from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime
from agentdojo.task_suite import TaskSuite, get_suites
from agentdojo.types import get_text_content_as_str

QUERY = ["self", "query", "runtime", "env", "messages", "extra_args"]


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_signatures():
    assert parameters(TaskSuite.run_task_with_pipeline)[1:7] == [
        "agent_pipeline", "user_task", "injection_task", "injections", "runtime_class", "environment",
    ]  # fmt: skip
    for element in (BasePipelineElement, AgentPipeline, InitQuery, ToolsExecutor, ToolsExecutionLoop):
        assert parameters(element.query) == QUERY
    assert parameters(ToolsExecutionLoop) == ["elements", "max_iters"]
    assert parameters(AgentPipeline) == ["elements"]
    assert parameters(SystemMessage) == ["system_message"]
    assert parameters(load_attack) == ["attack_name", "task_suite", "target_pipeline"]
    assert parameters(AbortAgentError) == ["message", "messages", "task_environment"]
    assert parameters(TaskSuite.load_and_inject_default_environment) == ["self", "injections"]
    for task in (BaseUserTask, BaseInjectionTask):
        assert parameters(task.ground_truth) == ["self", "pre_environment"]
        assert isinstance(task.GROUND_TRUTH_OUTPUT, str)
    assert parameters(BaseUserTask.init_environment) == ["environment"]
    assert {"function", "args", "id"} <= set(FunctionCall.model_fields)


def test_suites_and_attacks_are_found_by_name():
    assert set(get_suites("v1.2.1")) == {"slack", "banking", "travel", "workspace"}
    assert get_suites("v0") == {}
    assert issubclass(ATTACKS["important_instructions"], FixedJailbreakAttack)
    assert not ATTACKS["important_instructions"].is_dos_attack
    assert load_system_message("default").startswith("You are an AI language model")


class Idle(BasePipelineElement):
    """Does nothing."""

    def query(self, query, runtime, env=None, messages=(), extra_args=None):
        reply = {"role": "assistant", "content": [{"type": "text", "content": "Done."}], "tool_calls": None}
        return query, runtime, env, [*messages, reply], {}


def test_security_is_true_where_the_injection_was_carried_out(suite):
    user, injection = suite.user_tasks["user_task_0"], suite.injection_tasks["injection_task_4"]
    with redirect_stdout(io.StringIO()):
        done = suite.run_task_with_pipeline(GroundTruthPipeline(injection), user, injection, {})
        idle = suite.run_task_with_pipeline(Idle(), user, injection, {})
        nothing = suite.run_task_with_pipeline(Idle(), user, None, {})
    assert done == (False, True)
    assert idle == (False, False)
    assert nothing == (False, True), "it is True without an injection, so the bench does not read it there"


def test_a_denied_call_is_a_tool_message_with_an_error(suite):
    def refuse(**arguments):
        raise PermissionError("no")

    tool = next(tool for tool in suite.tools if tool.name == "get_channels")
    runtime = FunctionsRuntime([tool.model_copy(update={"run": refuse})])
    call = FunctionCall(function="get_channels", args={}, id="one")
    environment = suite.load_and_inject_default_environment({})
    asked = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    *_, messages, _ = ToolsExecutor().query("", runtime, environment, asked, {})
    assert (messages[-1]["role"], messages[-1]["tool_call_id"]) == ("tool", "one")
    assert messages[-1]["tool_call"] is call
    assert messages[-1]["error"] == "PermissionError: no"
    assert get_text_content_as_str(messages[-1]["content"]) == ""
