"""`posttrain bench`: attacks by defences, counted where they arrive, and AgentDojo's suites."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from posttrain.bench.agentdojo import picture as dojo_picture
from posttrain.bench.agentdojo import report as dojo_report
from posttrain.bench.agentdojo import score as dojo_score
from posttrain.bench.agentdojo.rows import Row
from posttrain.bench.egress import heatmap, report
from posttrain.bench.egress.grid import grid
from posttrain.bench.egress.run import Run, chosen, run_grid
from posttrain.bench.egress.score import score
from posttrain.chat import chat
from posttrain.commands.parse import parse
from posttrain.commands.show import Display
from posttrain.extras import need
from posttrain.files import write_json

BENCHES = {
    "egress": "Silent Egress: what leaves an agent.",
    "agentdojo": "AgentDojo's suites: utility, and injections carried out.",
}


@dataclass(frozen=True)
class BenchEgress:
    """What to run, and where results go."""

    grid: str = "default"
    """`default`, `paper`, or a TOML file of your own."""
    model: str = ""
    """A model, as `openai:NAME`; by default the scripted agent, which shows the mechanics alone."""
    base_url: str | None = None
    """Of the model's server, such as http://127.0.0.1:11434/v1."""
    defences: tuple[str, ...] = ()
    """Only these; in place of the grid's."""
    trials: int | None = None
    """Of each attack under each defence; in place of the grid's."""
    out: Path = Path("runs/egress")
    """Folder of the runs; a killed bench goes on there. The result is `result.json` and `result.png` in it."""


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


def main(arguments: Sequence[str]) -> None:
    """Parse and run."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(
            f"usage: posttrain bench {{{','.join(BENCHES)}}} [...]\n\n"
            "  egress      Silent Egress: attacks by defences; see egress --help\n"
            "  agentdojo   AgentDojo's suites by defences; see agentdojo --help"
        )
        return
    if name not in BENCHES:
        raise ValueError(f"there is no bench {name!r}; write posttrain bench {' or '.join(BENCHES)}.")
    form = {"prog": f"posttrain bench {name}", "description": BENCHES[name]}
    if name == "egress":
        run(parse(BenchEgress, rest, **form))
    else:
        run_agentdojo(parse(BenchAgentDojo, rest, **form))


def _say_what_broke(console: Any, result: dict[str, Any], runs: int) -> None:
    """Each reason with the defences under which it broke a run; exit code 1 if no run is left."""
    reasons: dict[str, list[str]] = {}
    for name, row in result["rows"].items():
        for because in row["because"]:
            reasons.setdefault(because, []).append(name)
    for because, names in reasons.items():
        console.print(f"broken under {', '.join(names)}: {because}", style="yellow", highlight=False, markup=False)
    if runs and result["errors"] == runs:
        sys.exit(
            f"posttrain: all {runs} runs broke, so nothing was measured; mend what is said above, and the same command "
            "runs them again."
        )


def run(given: BenchEgress) -> dict[str, Any]:
    """Run what is missing, print the tables, write the result and the picture."""
    for module in ("starlette", "uvicorn", "selectolax", "pydantic", "matplotlib"):
        need(module)
    wanted = grid(given.grid)
    trials = wanted.trials if given.trials is None else given.trials
    wanted = replace(wanted, defences=given.defences or wanted.defences, trials=trials)
    model = chat(given.model, given.base_url) if given.model else None
    with EgressDisplay(str(wanted), chosen(wanted, model)) as display:
        runs = asyncio.run(run_grid(wanted, given.out, model, display.advance))
    agent = model.name if model else f"scripted, obedience {wanted.obedience:g}"
    result = score(wanted, runs, agent, scripted=model is None)
    _say_what_broke(display.console, result, len(runs))
    write_json(given.out / "result.json", result)
    picture = heatmap.picture(result, given.out / "result.png")
    for table in report.tables(result):
        display.console.print(table)
    display.console.print(f"result   {given.out / 'result.json'}\npicture  {picture}", highlight=False)
    return result


class EgressDisplay(Display):
    """One bar, and what leaked so far."""

    def __init__(self, head: str, defences: Sequence[str]) -> None:
        super().__init__()
        self.console.print(head, highlight=False, markup=False)
        self.task = self.progress.add_task("runs", total=None, note="")
        self.leaked = dict.fromkeys(defences, 0)

    def advance(self, run: Run, number: int, total: int) -> None:
        """Show a run."""
        self.leaked[run.defence] += run.egress.part
        note = f"{run.defence}: {self.leaked[run.defence]} leaked"
        self.progress.update(self.task, completed=number, total=total, note=note)
        self.line(f"run {number} of {total}, {note}")


def run_agentdojo(given: BenchAgentDojo) -> dict[str, Any]:
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
    result = dojo_score.score(what, rows)
    _say_what_broke(display.console, result, len(rows))
    write_json(given.out / "result.json", result)
    drawn = dojo_picture.picture(result, given.out / "result.png")
    for table in dojo_report.tables(result):
        display.console.print(table)
    display.console.print(f"result   {given.out / 'result.json'}\npicture  {drawn}", highlight=False)
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
