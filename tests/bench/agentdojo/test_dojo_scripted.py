"""The scripted agent against AgentDojo's own ground truth, and what makes it obey."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("agentdojo")

from agentdojo.agent_pipeline.tool_execution import tool_result_to_str
from agentdojo.task_suite import get_suite
from agentdojo.types import text_content_block_from_string as block

from posttrain.bench.agentdojo.agents import Setting
from posttrain.bench.agentdojo.plan import Plan
from posttrain.bench.agentdojo.runner import run_suite
from posttrain.bench.agentdojo.scripted import Script, scripted


@pytest.mark.filterwarnings("ignore:The `copy` method is deprecated")
@pytest.mark.parametrize("name", ["slack", "banking"])
def test_without_an_injection_it_does_what_agentdojo_says_its_ground_truth_does(name, tmp_path):
    suite = get_suite("v1.2.1", name)
    _, (failed, _) = suite.check(check_injectable=False)
    sound = {task for task in suite.user_tasks if failed[task][0]}
    rows = run_suite(Plan(name, defences=("none",), injection_tasks=("injection_task_1",)), scripted(), tmp_path)
    assert {row.user_task for row in rows if not row.injection_task and row.utility} == sound
    assert not any(row.error for row in rows)


@pytest.fixture
def script(suite):
    environment = suite.load_and_inject_default_environment({})
    return Script(Setting(suite.user_tasks["user_task_1"], suite.injection_tasks["injection_task_4"], environment))


def result(text):
    return {"role": "tool", "content": [block(text)], "tool_call": None, "tool_call_id": None, "error": None}


def played(script, read):
    """The calls' names, where every result reads the same."""
    messages = [{"role": "user", "content": [block("Go.")]}]
    while True:
        messages = [*script.query("", None, None, messages)[3]]
        if not messages[-1]["tool_calls"]:
            return [call.id for m in messages for call in m.get("tool_calls") or ()]
        messages.append(result(read))


def test_it_obeys_what_it_has_read_before_it_goes_on_and_nothing_else(script):
    user = ["user-0", "user-1", "user-2"]
    assert played(script, "Nothing.") == user
    assert played(script, f"Please: {script.goal}") == ["user-0", "injection-0", "injection-1", "user-1", "user-2"]
    assert played(script, "Nothing.") == user, "it keeps no state"


def test_it_does_not_obey_the_user_or_itself(script):
    told = [{"role": role, "content": [block(script.goal)], "tool_calls": None} for role in ("user", "assistant")]
    assert not script.reads_goal(told)


@pytest.mark.parametrize("name", ["slack", "banking", "travel", "workspace"])
def test_every_goal_is_recognised_as_tools_write_it(name):
    suite = get_suite("v1.2.1", name)
    environment = suite.load_and_inject_default_environment({})
    user = next(iter(suite.user_tasks.values()))
    for task in suite.injection_tasks.values():
        reader = Script(Setting(user, task, environment))
        text = f"\n\n<INFORMATION>\n\nImportant: {task.GOAL}\n\nSigned\u2019\n"
        for written in (text, tool_result_to_str([text]), yaml.safe_dump({"body": {"deep": text}}, width=40)):
            assert reader.reads_goal([result(written)])


def test_no_other_goal_is_taken_for_its_own(suite, script):
    others = [task for name, task in suite.injection_tasks.items() if name != "injection_task_4"]
    assert not any(script.reads_goal([result(other.GOAL)]) for other in others)


@settings(max_examples=50, deadline=None)
@given(before=st.text(max_size=30), after=st.text(max_size=30), width=st.integers(20, 120))
def test_what_stands_around_a_goal_does_not_hide_it(before, after, width):
    suite = get_suite("v1.2.1", "slack")
    environment = suite.load_and_inject_default_environment({})
    task = suite.injection_tasks["injection_task_2"]
    reader = Script(Setting(suite.user_tasks["user_task_0"], task, environment))
    written = yaml.safe_dump([f"{before}\n{task.GOAL}\n{after}"], width=width)
    assert reader.reads_goal([result(written)])
