"""`posttrain bench ama`: how much of long agent logs a memory gives back, by retrieval alone or with a reader."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.bench.ama.plan import Plan
from posttrain.bench.ama.rows import Row
from posttrain.chat import chat
from posttrain.commands.show import Display, conclude, say_what_broke
from posttrain.extras import need


@dataclass(frozen=True)
class BenchAMA:
    """What to run, and where results go."""

    data: Path | None = None
    """AMA-Bench's own episodes, a file or a folder, in place of worlds; variables such as $HOME are filled in."""
    world: tuple[str, ...] = ("rooms",)
    """`rooms`, `babyai`, `textworld`: logs that are made here, with evidence from the simulator."""
    lengths: tuple[str, ...] = ("8K", "32K", "128K")
    """Of the logs, in tokens of four characters; any, such as 1M."""
    forms: tuple[str, ...] = ()
    """Only these: `prose`, `json`, `table`; by default all that a world has."""
    seeds: int = 5
    """Trajectories of each world and length."""
    methods: tuple[str, ...] = ()
    """Only these; by default all that are installed."""
    k: int = 10
    """Turns that a method may give."""
    tokens: int = 2048
    """A second budget, in tokens; it is also what a model reads."""
    model: str = ""
    """A model that answers from what was found, as `openai:NAME`; by default none, retrieval alone."""
    base_url: str | None = None
    """Of the model's server, such as http://127.0.0.1:11434/v1."""
    judge: str = ""
    """A model that compares answers with references, as `openai:NAME`; by default the one that answers."""
    judge_base_url: str | None = None
    """Of the judge's server; by default the model's."""
    settings: tuple[str, ...] = ("end",)
    """What the model reads: `needle`, the evidence from the log; `stored`, what the method kept of it; `end`, what the
    method found."""
    out: Path = Path("runs/ama")
    """Folder of the rows; a killed bench goes on there. The result is `result.json` and `result.png` in it."""


def run(given: BenchAMA) -> dict[str, Any]:
    """Run what is missing, print the tables, write the result and the picture."""
    need("matplotlib")
    from posttrain.bench.ama import picture, report
    from posttrain.bench.ama import runner as bench
    from posttrain.bench.ama.score import score

    data = Path(os.path.expandvars(given.data)).expanduser() if given.data else None
    plan = Plan(data, given.world, given.lengths, given.forms, given.seeds, given.methods, given.k, given.tokens,
                bool(given.model))  # fmt: skip
    readers = _readers(given)
    with AMADisplay(plan) as display:
        rows = asyncio.run(bench.run(plan, given.out, readers, display.advance))
    result = score(plan, rows, readers.names if readers else None)
    if data is not None:
        result["silver"] = _silver(data, given.out)
    for name, because in result["left_out"].items():
        display.console.print(f"left out: {name}, {because}", highlight=False, markup=False)
    say_what_broke(display.console, result["methods"], result["errors"], len(rows))
    conclude(display.console, result, given.out, picture.picture, report.tables)
    return result


def _readers(given: BenchAMA) -> Any:
    """The models; None where nobody reads."""
    if not given.model:
        if given.judge:
            raise ValueError("--judge compares a model's answers; give --model too.")
        return None
    from posttrain.bench.ama.runner import Readers

    reader = chat(given.model, given.base_url)
    judge = chat(given.judge, given.judge_base_url or given.base_url) if given.judge else reader
    return Readers(reader, judge, given.settings)


def _silver(data: Path, out: Path) -> dict[str, Any]:
    """The evidence that the questions were scored by, in `silver.json` too: numbers only, none of the data's text.

    A question's line is its number in the episode and its type, the turns that it or its answer cites, and behind the
    bar those that the answer alone cites.
    """
    from posttrain.bench.ama.data import load
    from posttrain.bench.ama.silver import write

    record = write(load(data), out / "silver.json")
    lines: dict[str, list[str]] = {}
    for label in record["labels"]:
        turns, new = (" ".join(map(str, label[key])) for key in ("all", "new"))
        lines.setdefault(label["episode"], []).append(f"{label['question']} {label['type']}: {turns} | {new}".rstrip())
    return {**record, "labels": lines}


class AMADisplay(Display):
    """One bar, and how much evidence the last method found."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        where = str(plan.data) if plan.data else f"{', '.join(plan.worlds)} at {', '.join(plan.lengths)}"
        self.console.print(f"AMA-Bench: {where}; {len(plan.chosen)} methods", highlight=False, markup=False)
        self.task = self.progress.add_task("logs x methods", total=None, note="")

    def advance(self, row: Row, number: int, total: int) -> None:
        """Show a row."""
        from posttrain.bench.ama.score import recall

        shares = [share for each in row.asked if (share := recall(each.needle, each.turns)) is not None]
        found = f"{sum(shares) / len(shares):.2f} of the evidence" if shares else "no evidence to find"
        note = f"{row.log}, {row.method}: {row.error or found}"
        self.progress.update(self.task, completed=number, total=total, note=note)
        self.line(f"{number} of {total}, {note}")
