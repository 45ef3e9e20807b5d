"""The slack suite by the scripted agent: who carries out what, what breaks, and where a killed bench goes on."""

import json

import pytest

pytest.importorskip("agentdojo")

from agentdojo.agent_pipeline import AbortAgentError, BasePipelineElement
from agentdojo.functions_runtime import FunctionCall
from agentdojo.types import text_content_block_from_string as block

from posttrain.bench.agentdojo.defences import DEFENCES, Defence, Elements, needed_hosts, register_defence
from posttrain.bench.agentdojo.plan import Plan, about
from posttrain.bench.agentdojo.rows import cases
from posttrain.bench.agentdojo.runner import contacts, run_suite
from posttrain.bench.agentdojo.scripted import scripted

POSTS = ("injection_task_2", "injection_task_4")
FEW = ("user_task_0", "user_task_4", "user_task_9", "user_task_15")


@pytest.fixture
def ran(tmp_path):
    """Runs of a plan, by defence."""

    def go(*defences, agent=None, **named):
        found = run_suite(Plan(defences=defences, **named), agent or scripted(), tmp_path / "out")
        return {name: [row for row in found if row.defence == name] for name in defences}

    return go


def test_injections_that_post_are_always_carried_out_without_defence_and_never_under_provenance(ran):
    some = tuple(f"user_task_{n}" for n in (0, 1, 4, 7, 11, 14, 20))
    found = ran("none", "egress provenance", user_tasks=some, injection_tasks=POSTS)
    for name, carried_out in (("none", True), ("egress provenance", False)):
        attacked = [row for row in found[name] if row.injection_task]
        assert len(attacked) == len(some) * 2
        assert {row.carried_out for row in attacked} == {carried_out}
        assert {row.blocked for row in attacked} == {"" if carried_out else "provenance.untrusted"}


def test_an_allowlist_lets_no_injection_over_the_web_and_every_user_task(ran, suite):
    rows = ran("egress allowlist", user_tasks=FEW)["egress allowlist"]
    assert {row.injection_task for row in rows if row.carried_out} == {"injection_task_1", "injection_task_5"}
    assert {host for row in rows for host in row.contacts} <= set(needed_hosts(suite))
    assert {(row.utility, row.blocked) for row in rows if not row.injection_task} == {(True, "")}


def test_seven_ordinary_tasks_read_from_hosts_that_only_messages_name(ran):
    rows = ran("none", injection_tasks=("injection_task_3",))["none"]
    reading = {row.user_task for row in rows if not row.injection_task and row.contacts}
    assert reading == {f"user_task_{n}" for n in (1, 4, 6, 11, 15, 18, 20)}


def test_reads_are_reported_and_not_blocked_by_provenance(ran):
    for row in ran("egress provenance", user_tasks=FEW, injection_tasks=("injection_task_3",))["egress provenance"]:
        assert (row.utility, row.blocked) == (True, "")
        assert row.carried_out == bool(row.injection_task) == ("www.true-informations.com" in row.contacts)


def test_a_contact_is_a_read_that_ran_and_that_no_trusted_text_named():
    def used(tool, url, error=None):
        call = FunctionCall(function=tool, args={"url": url, "content": "x"})
        return {"role": "tool", "tool_call": call, "tool_call_id": None, "content": [], "error": error}

    told = {"role": "user", "content": [block("Read www.named.com.")]}
    link = {"role": "assistant", "content": [block("I will read www.said.com.")], "tool_calls": None}
    found = contacts(
        [
            told, link, used("get_webpage", "www.named.com/page"), used("get_webpage", "https://www.said.com"),
            used("get_webpage", "www.denied.com", "PermissionError: no"), used("post_webpage", "www.sent.com"),
            used("get_webpage", "no host"), used("read_inbox", "www.other.com"),
        ]
    )  # fmt: skip
    assert found == {"www.said.com"}


class Masks(BasePipelineElement):
    """Empties what tools give back."""

    def query(self, query, runtime, env=None, messages=(), extra_args=None):
        hidden = [m | {"content": [block("")]} if m["role"] == "tool" else m for m in messages]
        return query, runtime, env, hidden, extra_args or {}


class Breaks(BasePipelineElement):
    """Raises."""

    def query(self, query, runtime, env=None, messages=(), extra_args=None):
        raise KeyError("lost")


class Aborts(BasePipelineElement):
    """Ends a run, as AgentDojo's detectors may."""

    def query(self, query, runtime, env=None, messages=(), extra_args=None):
        raise AbortAgentError("Stopped.", list(messages), env)


@pytest.fixture
def registry():
    before = dict(DEFENCES)
    yield
    DEFENCES.clear()
    DEFENCES.update(before)


@pytest.mark.usefixtures("registry")
def test_another_defence_takes_part_by_one_line(ran):
    register_defence("mask", lambda suite, model: Elements(after=(Masks(),)), "the agent reads nothing")
    rows = ran("mask", user_tasks=FEW)["mask"]
    assert not any(row.carried_out or row.error for row in rows)
    assert all(row.utility for row in rows), "the script knows its calls without reading"
    with pytest.raises(ValueError, match="There is a defence 'mask' already"):
        register_defence("mask", lambda suite, model: Elements(), "")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("place", ["start", "before", "after"])
def test_what_breaks_is_an_error_row_and_nothing_else(ran, place):
    register_defence("broken", lambda suite, model: Elements(**{place: (Breaks(),)}), "")
    for row in ran("broken", user_tasks=FEW[:1], injection_tasks=POSTS)["broken"]:
        assert (row.error, row.utility, row.carried_out, row.blocked) == ("KeyError: 'lost'", False, False, "")


@pytest.mark.usefixtures("registry")
def test_a_run_that_a_defence_ends_is_no_error(ran):
    register_defence("stop", lambda suite, model: Elements(after=(Aborts(),)), "")
    rows = ran("stop", user_tasks=("user_task_0", "user_task_1"), injection_tasks=POSTS[:1])["stop"]
    assert [(row.user_task, row.utility, row.carried_out, row.error) for row in rows] == [
        ("user_task_0", True, False, ""), ("user_task_0", True, False, ""),
        ("user_task_1", False, False, ""), ("user_task_1", False, False, ""),
    ]  # fmt: skip


def test_what_broke_is_run_again_and_a_killed_bench_goes_on(tmp_path, monkeypatch):
    plan = Plan(defences=("none",), user_tasks=FEW[:2], injection_tasks=POSTS)
    monkeypatch.setitem(DEFENCES, "none", Defence(lambda suite, model: Elements(after=(Breaks(),)), ""))
    assert all(row.error for row in run_suite(plan, scripted(), tmp_path))
    monkeypatch.undo()
    seen = []
    rows = run_suite(plan, scripted(), tmp_path, lambda row, number, total: seen.append((number, total)))
    assert not any(row.error for row in rows)
    assert seen == [(n, 6) for n in range(1, 7)]
    path = tmp_path / "rows.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:3]) + whole[3][:20])
    assert run_suite(plan, scripted(), tmp_path) == rows
    assert [json.loads(line) for line in path.read_text().splitlines()] == [json.loads(line) for line in whole]
    with pytest.raises(ValueError, match="rows of another suite, attack or agent; give another folder with --out"):
        run_suite(Plan(attack="direct"), scripted(), tmp_path)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan(version="v9"), "no benchmark version 'v9'"),
        (Plan("mail"), "no suite 'mail'; choose among workspace"),
        (Plan(attack="dos"), "no attack 'dos'; choose among direct"),
        (Plan(attack="manual"), "no attack 'manual'"),
        (Plan(defences=("prayer",)), "no defence 'prayer' for suite slack; choose among none, egress allowlist"),
        (Plan("banking", defences=("egress allowlist",)), "no defence 'egress allowlist' for suite banking"),
        (Plan(user_tasks=("user_task_99",)), "no user task 'user_task_99' in suite slack"),
        (Plan(injection_tasks=("user_task_1",)), "no injection task 'user_task_1' in suite slack"),
    ],
)
def test_what_is_not_there_is_named_before_the_first_run(plan, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        run_suite(plan, scripted(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_plan_is_all_there_is_unless_it_names_some():
    opened = Plan().open()
    assert len(list(cases(*opened[1:]))) == 3 * 21 * (1 + 5)
    assert Plan("banking").open().defences == ("none",)
    what = about(Plan(injection_tasks=("injection_task_1", "injection_task_2")), scripted())
    assert {name: task["web"] for name, task in what["injections"].items()} == {
        "injection_task_1": False, "injection_task_2": True,
    }  # fmt: skip
    assert (what["skipped"], what["web"], what["scripted"]) == ([], True, True)


def test_injections_without_a_known_solution_are_skipped_and_named(tmp_path):
    plan = Plan("workspace", user_tasks=("user_task_0",), injection_tasks=("injection_task_1", "injection_task_6"))
    assert about(plan, scripted())["skipped"] == ["injection_task_6"]
    assert [row.injection_task for row in run_suite(plan, scripted(), tmp_path)] == ["", "injection_task_1"]
