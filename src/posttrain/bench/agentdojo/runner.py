"""Suite x user task x injection task x defence to rows, by AgentDojo's own runner and checkers.

Rows are written to a JSONL file as runs end; a killed bench goes on where it was.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agentdojo.agent_pipeline import AgentPipeline
from agentdojo.attacks import BaseAttack, load_attack
from agentdojo.task_suite import TaskSuite

from posttrain.bench.agentdojo.agents import Agent, Setting, Watched, pipeline
from posttrain.bench.agentdojo.defences import DEFENCES
from posttrain.bench.agentdojo.plan import Plan
from posttrain.bench.agentdojo.rows import Case, Row, cases
from posttrain.bench.egress.counted import blocked
from posttrain.bench.resume import kept_rows
from posttrain.files import append_line
from posttrain.guard.egress.hosts import Refused, target
from posttrain.guard.egress.look import named
from posttrain.guard.egress.policy import Provenance
from posttrain.guard.egress.wrappers.agentdojo import WEB_TOOLS, passages_of


def run_suite(plan: Plan, agent: Agent, out: Path, show: Callable[[Row, int, int], None] | None = None) -> list[Row]:
    """Make all runs that the folder does not hold, and those again that broke.

    Args:
        plan: What to run.
        agent: Who is attacked.
        out: Folder; the rows are `rows.jsonl` in it.
        show: Called after each run with its row, its number and the number of all.

    Raises:
        ValueError: The plan names what is not there, or the folder holds rows of another suite, attack or agent.
    """
    opened = plan.open()
    able = [name for name in opened.injection_tasks if agent.able(opened.suite, name)]
    wanted = list(cases(opened.defences, opened.user_tasks, able))
    path = out / "rows.jsonl"
    head = {"agentdojo": version("agentdojo"), "suite": plan.suite, "version": plan.version, "attack": plan.attack}
    head["agent"] = agent.name
    kept = kept_rows(path, head, "rows of another suite, attack or agent")
    done = {key: Row.from_record(row) for key, row in kept.items()}
    attack = load_attack(plan.attack, opened.suite, _addressed(agent))
    for number, case in enumerate(wanted, 1):
        if case.key not in done:
            done[case.key] = run_case(case, opened.suite, attack, agent)
            append_line(path, asdict(done[case.key]))
        if show is not None:
            show(done[case.key], number, len(wanted))
    return [done[case.key] for case in wanted]


def _addressed(agent: Agent) -> AgentPipeline:
    """What attacks read the model's name from: the first that AgentDojo knows, and `local` is one of them."""
    addressed = AgentPipeline([])
    addressed.name = f"{agent.name}, local"
    return addressed


def run_case(case: Case, suite: TaskSuite, attack: BaseAttack, agent: Agent) -> Row:
    """One run. Whatever breaks in it is noted."""
    try:
        return _run(case, suite, attack, agent)
    except Exception as error:  # noqa: BLE001 - tasks, checkers, models and defences are others'; each error is a row
        return Row.of(case, error=f"{type(error).__name__}: {error}")


def _run(case: Case, suite: TaskSuite, attack: BaseAttack, agent: Agent) -> Row:
    user = suite.user_tasks[case.user_task]
    injection = suite.injection_tasks[case.injection_task] if case.injection_task else None
    injections = attack.attack(user, injection) if injection else {}
    environment = suite.load_and_inject_default_environment(injections)
    model = agent.build(Setting(user, injection, environment))
    elements = DEFENCES[case.defence].build(suite, model)
    watched = Watched(pipeline(model, elements, agent.turns))
    with redirect_stdout(io.StringIO()):  # some of AgentDojo's checkers print
        utility, security = suite.run_task_with_pipeline(watched, user, injection, injections, environment=environment)
    return Row.of(
        case,
        utility=bool(utility),
        carried_out=injection is not None and bool(security),
        blocked=blocked(elements.verdicts),
        contacts=tuple(sorted(set().union(*map(contacts, watched.conversations)))),
    )


def contacts(messages: Sequence[Any]) -> set[str]:
    """Hosts that were read from, and that neither the user nor the system named."""
    trusted = [p for p in passages_of(messages) if p.span.source in Provenance().trusted]
    found = set()
    for message in messages:
        if message["role"] != "tool" or message["error"] is not None or message["tool_call"].function not in WEB_TOOLS:
            continue
        request = WEB_TOOLS[message["tool_call"].function](message["tool_call"].args)
        try:
            host = target(request.url).host
        except Refused:
            continue
        if request.method == "GET" and not named(host, trusted):
            found.add(host)
    return found
