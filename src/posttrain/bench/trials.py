"""Arms by seeds: a function of a seed that gives the measures of every arm. A killed bench goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from posttrain import stats
from posttrain.bench.record import provenance
from posttrain.bench.resume import kept_rows
from posttrain.files import append_line

Arms = dict[str, dict[str, float]]
"""Arms to their measures."""


def run_trials(
    out: Path,
    head: dict[str, Any],
    seeds: Sequence[int],
    run: Callable[[int], Arms],
    show: Callable[[int, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """The rows of all seeds; those that the folder holds are not run again.

    Args:
        out: Folder; the rows are `rows.jsonl` in it.
        head: What the rows are of; a folder that holds others is refused.
        seeds: One row each.
        run: From a seed to the measures of each arm.
        show: Called after each seed with it, its number and the number of all.

    Raises:
        ValueError: The folder holds rows of something else.
    """
    path = out / "rows.jsonl"
    kept = kept_rows(path, head, "rows of another {other}")
    rows = []
    for number, seed in enumerate(seeds, 1):
        key = f"seed {seed}"
        if key not in kept:
            kept[key] = {"key": key, "seed": seed, "arms": run(seed), "error": ""}
            append_line(path, kept[key])
        rows.append(kept[key])
        if show is not None:
            show(seed, number, len(seeds))
    return rows


def summary(rows: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The result: each measure of each arm, by seed and with its interval, after where and when it was measured."""
    arms: dict[str, Any] = {}
    for arm, measures in rows[0]["arms"].items():
        found = {name: [row["arms"][arm][name] for row in rows] for name in measures}
        arms[arm] = {
            "measured": {name: {"by_seed": each, **stats.bootstrap(each)._asdict()} for name, each in found.items()}
        }
    seeds = [row["seed"] for row in rows]
    return {"provenance": provenance(), **more, "seeds": seeds, "n": len(seeds), "arms": arms}


Cells = dict[str, dict[str, Any]]
"""Measures to their means and intervals."""


def rows_and_asides(result: dict[str, Any], columns: Sequence[str]) -> tuple[dict[str, Cells], dict[str, Cells]]:
    """A result's arms with these measures, and those that hold something else, such as counts."""
    arms = {name: arm["measured"] for name, arm in result["arms"].items()}
    rows = {name: {each: cells[each] for each in columns} for name, cells in arms.items() if columns[0] in cells}
    return rows, {name: cells for name, cells in arms.items() if name not in rows}


def first_measures(result: dict[str, Any]) -> list[str]:
    """What the first arm measures."""
    return list(next(iter(result["arms"].values()))["measured"])
