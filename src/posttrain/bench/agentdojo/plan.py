"""What to run: a suite, an attack, defences, tasks; all of it checked before the first run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

from agentdojo.attacks.attack_registry import ATTACKS
from agentdojo.task_suite import TaskSuite, get_suites

from posttrain.bench.agentdojo.agents import Agent
from posttrain.bench.agentdojo.defences import DEFENCES
from posttrain.guard.egress.wrappers.agentdojo import WEB_TOOLS


class Opened(NamedTuple):
    """A plan with everything that it names."""

    suite: TaskSuite
    defences: tuple[str, ...]
    user_tasks: tuple[str, ...]
    injection_tasks: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What to run. Empty tuples are all there is."""

    suite: str = "slack"
    version: str = "v1.2.1"
    attack: str = "important_instructions"
    defences: tuple[str, ...] = ()
    user_tasks: tuple[str, ...] = ()
    injection_tasks: tuple[str, ...] = ()

    def open(self) -> Opened:
        """What is meant.

        Raises:
            ValueError: Something is named that is not there.
        """
        suites = get_suites(self.version)
        if not suites:
            raise ValueError(f"AgentDojo has no benchmark version {self.version!r}; write one such as v1.2.1.")
        suite = suites[_among("suite", self.suite, suites)]
        _among("attack", self.attack, attacks())
        fitting = [name for name, defence in DEFENCES.items() if defence.fits(suite)]
        return Opened(
            suite,
            _chosen("defence", self.defences, fitting, f" for suite {self.suite}"),
            _chosen("user task", self.user_tasks, suite.user_tasks, f" in suite {self.suite}"),
            _chosen("injection task", self.injection_tasks, suite.injection_tasks, f" in suite {self.suite}"),
        )


def attacks() -> list[str]:
    """AgentDojo's attacks that have a goal; denial of service has none, and `manual` asks at the terminal."""
    return [name for name, attack in ATTACKS.items() if not attack.is_dos_attack and name != "manual"]


def _among(what: str, name: str, known: Iterable[str], where: str = "") -> str:
    if name not in (names := list(known)):
        raise ValueError(f"There is no {what} {name!r}{where}; choose among {', '.join(names)}.")
    return name


def _chosen(what: str, names: Sequence[str], known: Iterable[str], where: str) -> tuple[str, ...]:
    return tuple(_among(what, name, known, where) for name in names) or tuple(known)


def about(plan: Plan, agent: Agent) -> dict[str, Any]:
    """What was run, as JSON."""
    opened = plan.open()
    empty = opened.suite.load_and_inject_default_environment({})
    injections = {}
    for name in opened.injection_tasks:
        task = opened.suite.injection_tasks[name]
        calls = [call.function for call in task.ground_truth(empty)]
        injections[name] = {"goal": task.GOAL, "calls": calls, "web": not WEB_TOOLS.keys().isdisjoint(calls)}
    return {
        "suite": plan.suite,
        "version": plan.version,
        "agentdojo": version("agentdojo"),
        "attack": plan.attack,
        "agent": agent.name,
        "scripted": agent.scripted,
        "defences": {name: DEFENCES[name].note for name in opened.defences},
        "idle": [] if plan.defences else [name for name, each in DEFENCES.items() if not each.fits(opened.suite)],
        "injections": injections,
        "skipped": [name for name in injections if not agent.able(opened.suite, name)],
        "web": any(tool.name in WEB_TOOLS for tool in opened.suite.tools),
    }
