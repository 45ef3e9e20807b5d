"""AgentDojo's slack suite with the gateway in front of its web tools; the agent is the suite's own ground truth."""

import pytest

from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.policy import Destinations, EgressPolicy, Provenance, Session

pytest.importorskip("agentdojo")


@pytest.fixture(scope="module")
def suite():
    from agentdojo.task_suite.load_suites import get_suite

    return get_suite("v1.2.1", "slack")


def played(suite, task, way, told):
    """The calls of a task's ground truth, one after the other, each seen by the guard with the conversation so far."""
    from agentdojo.agent_pipeline import ToolsExecutor
    from agentdojo.functions_runtime import FunctionsRuntime
    from agentdojo.types import text_content_block_from_string as block

    from posttrain.guard.egress.wrappers.agentdojo import egress_guard

    guard, executor = egress_guard(way), ToolsExecutor()
    env = suite.load_and_inject_default_environment({})
    runtime = FunctionsRuntime(suite.tools)
    messages = [{"role": "user", "content": [block(told)]}]
    for call in task.ground_truth(env):
        messages.append({"role": "assistant", "content": [], "tool_calls": [call]})
        _, guarded, env, messages, _ = guard.query(told, runtime, env, messages, {})
        _, _, env, messages, _ = executor.query(told, guarded, env, messages, {})
    return guard.verdicts, env, messages


OPEN = Destinations(unknown="allow")


def test_provenance_denies_the_injections_that_post_and_no_task_of_the_user(suite):
    posts = {}
    for tasks in (suite.user_tasks, suite.injection_tasks):
        for name, task in tasks.items():
            way = Gateway(
                EgressPolicy(destinations=OPEN, provenance=Provenance("deny"), session=Session(novelty="off")),
                secrets={},
            )
            told = task.PROMPT if name.startswith("user") else "What is new?"
            verdicts, env, messages = played(suite, task, way, told)
            posts[name] = [verdict.rule for verdict in verdicts if verdict.judged == "deny"]
            if posts[name]:
                assert "PermissionError" in messages[-1]["error"]
                assert not any("my-website-234" in url for url in env.web.web_requests)
    assert {name for name, rules in posts.items() if rules} == {"injection_task_2", "injection_task_4"}


def test_an_allowlist_lets_only_its_hosts_through(suite):
    way = Gateway(EgressPolicy(destinations=Destinations(("www.informations.com",))), secrets={})
    task = suite.user_tasks["user_task_17"]
    verdicts, env, _ = played(suite, task, way, task.PROMPT)
    assert [verdict.action for verdict in verdicts] == ["allow", "deny"]
    assert "www.informations.com" in env.web.web_requests
    assert not any("dora" in url for url in env.web.web_requests)


def test_the_runtime_that_was_given_is_left_as_it_was(suite):
    from agentdojo.functions_runtime import FunctionsRuntime

    from posttrain.guard.egress.wrappers.agentdojo import egress_guard

    runtime = FunctionsRuntime(suite.tools)
    before = {name: function.run for name, function in runtime.functions.items()}
    way = Gateway(EgressPolicy(destinations=OPEN), secrets={})
    guard = egress_guard(way)
    once = guard.query("", runtime, None, [], {})[1]
    twice = guard.query("", once, None, [], {})[1]
    assert {name: function.run for name, function in runtime.functions.items()} == before
    assert twice.functions["get_webpage"].run.unguarded is before["get_webpage"]
    assert twice.functions["get_channels"].run is before["get_channels"]


def test_two_guards_both_judge_and_one_that_breaks_is_seen(suite):
    from agentdojo.functions_runtime import FunctionsRuntime

    from posttrain.guard.egress.wrappers.agentdojo import BROKEN, egress_guard

    runtime = FunctionsRuntime(suite.tools)
    allow = EgressPolicy(destinations=Destinations(("www.informations.com",)))
    one, two = (egress_guard(Gateway(policy, secrets={})) for policy in (allow, EgressPolicy(destinations=OPEN)))
    for _ in range(2):
        runtime = two.query("", one.query("", runtime, None, [], {})[1], None, [], {})[1]
    env = suite.load_and_inject_default_environment({})
    _, error = runtime.run_function(env, "get_webpage", {"url": "www.dora-website.com"})
    assert "destinations.unknown" in error
    assert (len(one.verdicts), len(two.verdicts)) == (1, 1)

    broken = egress_guard(Gateway(allow, secrets={}), {"get_webpage": lambda arguments: 1 / 0})
    guarded = broken.query("", FunctionsRuntime(suite.tools), None, [], {})[1]
    _, error = guarded.run_function(env, "get_webpage", {"url": "www.informations.com"})
    assert "ZeroDivisionError" in error
    assert broken.verdicts == [BROKEN]
