"""The result as tables for the terminal: every arm with its shares."""

from __future__ import annotations

from typing import Any

from posttrain.bench.table import line, table
from posttrain.bench.trials import first_measures, rows_and_asides


def tables(result: dict[str, Any]) -> list[Any]:
    """What was run, and each arm's measures."""
    names = first_measures(result)
    columns = [name.replace(", ", "\n") for name in names]
    out = table(result["title"], result["says"], columns, first="arm")
    rows, asides = rows_and_asides(result, names)
    for name, cells in rows.items():
        out.add_row(name, *(f"{cell['mean']:.3f}" for cell in cells.values()))
    told = {
        name: ", ".join(f"{what} {cell['mean']:.1f}" for what, cell in cells.items()) for name, cells in asides.items()
    }
    return [out, *(line(f"{name}: {said}") for name, said in told.items())]
