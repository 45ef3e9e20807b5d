"""The result as tables for the terminal: every arm with its shares."""

from __future__ import annotations

from typing import Any

from posttrain.bench.table import line, table


def tables(result: dict[str, Any]) -> list[Any]:
    """What was run, and each arm's measures."""
    arms = {name: arm["measured"] for name, arm in result["arms"].items()}
    names = list(next(iter(arms.values())))
    columns = [name.replace(", ", "\n") for name in names]
    out = table(result["title"], result["says"], columns, first="arm")
    aside = []
    for name, measured in arms.items():
        if list(measured) == names:
            out.add_row(name, *(f"{cell['mean']:.3f}" for cell in measured.values()))
        else:
            cells = ", ".join(f"{what} {cell['mean']:.1f}" for what, cell in measured.items())
            aside.append(line(f"{name}: {cells}"))
    return [out, *aside]
