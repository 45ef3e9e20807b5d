"""Running a world of arms by seeds: bars while it runs, rows that a killed run goes on from, tables at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.bench.trials import Arms, run_trials, summary
from posttrain.commands.show import Display, conclude


class World(NamedTuple):
    """What a world needs to be run and shown."""

    setup: Any
    """A dataclass."""
    run: Callable[[int], Arms]
    title: str
    says: str
    draw: Callable[[dict[str, Any], Path], Path]
    tables: Callable[[dict[str, Any]], Iterable[Any]]


def run_world(display: Display, name: str, world: World, seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """Run what is missing, print the tables, write the result and the picture.

    Args:
        display: Of this run; its bars end with it.
        name: Of the world, as the rows say it.
        world: What to run and how to show it.
        seeds: One row each.
        out: Folder of the rows and the result.
    """
    setup = asdict(world.setup)
    with display:
        task = display.progress.add_task(name, total=len(seeds), note="")

        def show(seed: int, number: int, total: int) -> None:
            display.progress.update(task, completed=number, note=f"seed {seed}")
            display.line(f"{name}: seed {seed}, {number} of {total}")

        rows = run_trials(out, {"world": name, "setup": setup}, seeds, world.run, show)
    result = summary(rows, world=name, title=world.title, says=world.says, setup=setup)
    conclude(display.console, result, out, world.draw, world.tables)
    return result
