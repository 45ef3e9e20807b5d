"""Live progress on the terminal, and the table and picture at the end."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from posttrain.bench import figures
from posttrain.extras import need
from posttrain.files import read_lines, write_json

COLUMNS = (
    TextColumn("[bold]{task.description}"),
    BarColumn(bar_width=24),
    MofNCompleteColumn(),
    TextColumn("{task.fields[note]}", markup=False),
    TimeRemainingColumn(),
)


class Display:
    """Bars where there is a terminal; where there is none, a line every few seconds.

    Args:
        quiet: Say nothing, as processes do that are not the main one.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True, quiet=quiet)
        if not console.is_terminal:
            console = Console(stderr=True, width=max(console.width, 140), quiet=quiet)
        self.console = console
        self.progress = Progress(*COLUMNS, console=self.console, disable=not self.console.is_terminal)
        self._last = 0.0

    def __enter__(self) -> Any:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def line(self, text: str, every: float = 10.0) -> None:
        """Say something now and then when there are no bars."""
        if not self.console.is_terminal and time.monotonic() - self._last > every:
            self._last = time.monotonic()
            self.console.print(text, highlight=False, markup=False)


def say_what_broke(console: Console, rows: Mapping[str, Any], errors: int, runs: int) -> None:
    """Each reason with the rows of a bench's table in which it broke a run; exit code 1 if no run is left."""
    reasons: dict[str, list[str]] = {}
    for name, row in rows.items():
        for because in row["because"]:
            reasons.setdefault(because, []).append(name)
    for because, names in reasons.items():
        console.print(f"broken under {', '.join(names)}: {because}", style="yellow", highlight=False, markup=False)
    if runs and errors == runs:
        sys.exit(
            f"posttrain: all {runs} runs broke, so nothing was measured; mend what is said above, and the same command "
            "runs them again."
        )


def conclude(
    console: Console,
    result: dict[str, Any],
    out: Path,
    draw: Callable[[dict[str, Any], Path], Path],
    tables: Callable[[dict[str, Any]], Iterable[Any]],
) -> None:
    """Write a result and its picture to a folder, and print its tables and where both are."""
    write_json(out / "result.json", result)
    picture = draw(result, out / "result.png")
    for table in tables(result):
        console.print(table)
    console.print(f"result   {out / 'result.json'}\npicture  {picture}", highlight=False)


class TrainingDisplay(Display):
    """One run."""

    def __init__(self, name: str, steps: int) -> None:
        super().__init__()
        self.task: TaskID | None = None
        self.name, self.steps = name, steps
        self._flat = 0

    def advance(self, record: dict[str, Any]) -> None:
        """Show a log record; the main process calls it."""
        if "reward" not in record:
            return
        if self.task is None:
            self.task = self.progress.add_task(self.name, total=self.steps, note="")
        note = f"reward {record['reward']:.3f}  length {record.get('completions/mean_length', 0):.0f}"
        self.progress.update(self.task, completed=record["step"], note=note)
        self._flat = self._flat + 1 if record.get("frac_reward_zero_std") == 1 else -self.steps
        if self._flat == 5:
            self.console.print(
                "every group of the first five steps had equal rewards, so nothing is learnt: look at the verifier, "
                "at the length of the completions and at how hard the prompts are",
                style="yellow",
            )
        self.line(f"{self.name}: step {record['step']} of {self.steps}, {note}")

    def finish(self, log: Path, model: Path) -> None:
        """The closing table and picture of a run."""
        lines = [line for line in read_lines(log) if "reward" in line]
        if not lines:
            return
        tenth = max(1, len(lines) // 10)
        table = Table("metric", f"first {tenth} steps", f"last {tenth} steps", box=need("rich.box").SIMPLE_HEAD)
        for column in table.columns[1:]:
            column.justify = "right"
        for key in ("reward", "correct", "unscored", "completions/mean_length", "veto/positive", "veto/negative",
                    "teacher/kl", "teacher/clamped", "entropy", "grad_norm", "step_time"):  # fmt: skip
            ends = [[line[key] for line in part if key in line] for part in (lines[:tenth], lines[-tenth:])]
            if all(ends):
                table.add_row(key, *(f"{statistics.mean(values):.4g}" for values in ends))
        picture = run_picture(lines, log.with_name("curve.png"), self.name)
        self.progress.stop()
        self.console.print(table)
        self.console.print(f"model    {model}\nlog      {log}\npicture  {picture}", highlight=False)


def run_picture(lines: list[dict[str, Any]], path: Path, name: str) -> Path:
    """Reward, and the teacher's veto where there is one, over the steps of a run; whole or not there."""
    pyplot = figures.pyplot()
    keys = [key for key in ("reward", "teacher/kl", "veto/positive", "veto/negative") if any(key in x for x in lines)]
    figure, axes = pyplot.subplots(1, len(keys), figsize=(4 * len(keys), 3), layout="constrained", squeeze=False)
    for axis, key in zip(axes[0], keys, strict=True):
        points = [(line["step"], line[key]) for line in lines if key in line]
        axis.plot(*zip(*points, strict=True), color="#2a7ab0", linewidth=1.5)
        axis.set(title=key, xlabel="optimiser steps")
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(name)
    return figures.saved(figure, path, dpi=120)
