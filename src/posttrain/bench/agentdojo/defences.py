"""The defences, by name. Another one takes part by one line.

Such as `register_defence("mine", lambda suite, model: Elements(after=(MyDetector(),)), "what it does, in a few words")`
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

from agentdojo.agent_pipeline import BasePipelineElement
from agentdojo.task_suite import TaskSuite

from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.hosts import target
from posttrain.guard.egress.policy import Content, Destinations, EgressPolicy, Provenance, Session
from posttrain.guard.egress.wrappers.agentdojo import WEB_TOOLS, egress_guard
from posttrain.guard.verdict import Verdict


@dataclass(frozen=True)
class Elements:
    """A defence's pipeline elements for one run, and where they stand."""

    start: tuple[BasePipelineElement, ...] = ()
    """After the user's message, before the first reply."""
    before: tuple[BasePipelineElement, ...] = ()
    """Between a reply and the running of its calls."""
    after: tuple[BasePipelineElement, ...] = ()
    """Between the calls' results and the next reply."""

    @property
    def verdicts(self) -> list[Verdict]:
        """What those said that keep their verdicts in `verdicts`."""
        return [v for e in (*self.start, *self.before, *self.after) for v in getattr(e, "verdicts", ())]


Build: TypeAlias = Callable[[TaskSuite, BasePipelineElement], Elements]
"""From the suite, and the element in the model's place, to new elements for one run."""


@dataclass(frozen=True)
class Defence:
    """One row of the tables."""

    build: Build
    note: str
    """What it does, in a few words."""
    tools: frozenset[str] = frozenset()
    """What it guards; it has no place in a suite that has none of them. Empty is all suites."""

    def fits(self, suite: TaskSuite) -> bool:
        """Whether it has something to guard there."""
        return not self.tools or bool(self.tools & {tool.name for tool in suite.tools})


DEFENCES: dict[str, Defence] = {}
"""Name to defence."""


def register_defence(name: str, build: Build, note: str, tools: Collection[str] = ()) -> None:
    """Add a defence.

    Args:
        name: In tables and on the command line.
        build: Called once for each run.
        note: What it does, in a few words.
        tools: What it guards, if a suite without these has no use for it.
    """
    if name in DEFENCES:
        raise ValueError(f"There is a defence {name!r} already; give this one another name.")
    DEFENCES[name] = Defence(build, note, frozenset(tools))


@cache
def needed_hosts(suite: TaskSuite) -> tuple[str, ...]:
    """Hosts that the user tasks' known solutions make requests to."""
    hosts = set()
    for task in suite.user_tasks.values():
        environment = task.init_environment(suite.load_and_inject_default_environment({}))
        for call in task.ground_truth(environment):
            if call.function in WEB_TOOLS:
                hosts.add(target(WEB_TOOLS[call.function](call.args).url).host)
    return tuple(sorted(hosts))


def _egress(policy: EgressPolicy) -> Elements:
    """A gateway of its own for each run: sessions begin anew, nothing is sent, so certificates need not be read."""
    return Elements(before=(egress_guard(Gateway(policy, secrets={}, verify=False)),))


def _allowlist(suite: TaskSuite, _: BasePipelineElement) -> Elements:
    return _egress(EgressPolicy(destinations=Destinations(needed_hosts(suite), schemes=BOTH, ports=PORTS)))


def _provenance(_: TaskSuite, __: BasePipelineElement) -> Elements:
    policy = EgressPolicy(
        destinations=Destinations(unknown="allow", schemes=BOTH, ports=PORTS),
        content=Content(secrets="off", overflow="off"),
        session=Session(coverage="off", novelty="off"),
        provenance=Provenance("deny"),
    )
    return _egress(policy)


BOTH: tuple[Literal["https", "http"], ...] = ("https", "http")
PORTS = (443, 80)
"""The suites' tools make no difference between them."""

register_defence("none", lambda suite, model: Elements(), "every call runs")
register_defence(
    "egress allowlist", _allowlist,
    "requests only to hosts that the user tasks' solutions need: no other host by construction", WEB_TOOLS,
)  # fmt: skip
register_defence(
    "egress provenance", _provenance,
    "requests that send only to hosts that the user or the system named, and nothing else looked at", WEB_TOOLS,
)  # fmt: skip
