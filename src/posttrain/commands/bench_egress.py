"""`posttrain bench egress`: attacks by defences, counted where they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from posttrain.bench.egress import heatmap, report
from posttrain.bench.egress.grid import grid
from posttrain.bench.egress.run import Run, chosen, run_grid
from posttrain.bench.egress.score import score
from posttrain.chat import chat
from posttrain.commands.show import Display, conclude, say_what_broke
from posttrain.extras import need


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
    say_what_broke(display.console, result["rows"], result["errors"], len(runs))
    conclude(display.console, result, given.out, heatmap.picture, report.tables)
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
