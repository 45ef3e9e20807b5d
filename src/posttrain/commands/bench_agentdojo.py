"""`posttrain bench agentdojo`: AgentDojo's suites under each defence."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.bench.agentdojo import picture, report
from posttrain.bench.agentdojo.rows import Row
from posttrain.bench.agentdojo.score import score
from posttrain.chat import chat
from posttrain.commands.show import Display, conclude, say_what_broke
from posttrain.extras import need


@dataclass(frozen=True)
class BenchAgentDojo:
    """What to run, and where results go."""

    suite: str = "slack"
    """`slack`, `banking`, `travel` or `workspace`."""
    version: str = "v1.2.1"
    """AgentDojo's benchmark version."""
    attack: str = "important_instructions"
    """AgentDojo's words around an injection's goal."""
    defences: tuple[str, ...] = ()
    """Only these; by default all that have something to guard in the suite."""
    user_tasks: tuple[str, ...] = ()
    """Only these."""
    injection_tasks: tuple[str, ...] = ()
    """Only these."""
    model: str = ""
    """A model, as `openai:NAME`; by default the scripted agent, which shows the mechanics alone."""
    base_url: str | None = None
    """Of the model's server, such as http://127.0.0.1:11434/v1."""
    temperature: float | None = 0.0
    """Of the model; None is its own."""
    out: Path = Path("runs/agentdojo")
    """Folder of the rows; a killed bench goes on there. The result is `result.json` and `result.png` in it."""


def run(given: BenchAgentDojo) -> dict[str, Any]:
    """Run what is missing, print the tables, write the result and the picture."""
    for module in ("agentdojo", "pydantic", "matplotlib"):
        need(module)
    from posttrain.bench.agentdojo.model import model
    from posttrain.bench.agentdojo.plan import Plan, about
    from posttrain.bench.agentdojo.runner import run_suite
    from posttrain.bench.agentdojo.scripted import scripted

    plan = Plan(given.suite, given.version, given.attack, given.defences, given.user_tasks, given.injection_tasks)
    chosen_chat = chat(given.model, given.base_url) if given.model else None
    with model(chosen_chat, given.temperature) if chosen_chat else nullcontext(scripted()) as agent:
        what = about(plan, agent)
        with AgentDojoDisplay(f"AgentDojo {plan.suite} {plan.version}, {agent.name}", what["defences"]) as display:
            if what["idle"]:
                display.console.print(
                    f"not run: {', '.join(what['idle'])}; suite {plan.suite} has no tools that they guard",
                    highlight=False, markup=False,
                )  # fmt: skip
            rows = run_suite(plan, agent, given.out, display.advance)
    result = score(what, rows)
    say_what_broke(display.console, result["rows"], result["errors"], len(rows))
    conclude(display.console, result, given.out, picture.picture, report.tables)
    return result


class AgentDojoDisplay(Display):
    """One bar, and how many injections were carried out so far."""

    def __init__(self, head: str, defences: Iterable[str]) -> None:
        super().__init__()
        self.console.print(head, highlight=False, markup=False)
        self.task = self.progress.add_task("runs", total=None, note="")
        self.counts = {name: [0, 0] for name in defences}

    def advance(self, row: Row, number: int, total: int) -> None:
        """Show a run."""
        count = self.counts[row.defence]
        count[0] += row.carried_out
        count[1] += bool(row.injection_task) and not row.error
        note = f"{row.defence}: {count[0]} of {count[1]} injections carried out"
        self.progress.update(self.task, completed=number, total=total, note=note)
        self.line(f"run {number} of {total}, {note}")
