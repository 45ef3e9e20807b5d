"""The results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.bench.table import line, table
from posttrain.bench.trials import rows_and_asides


def trained(columns: Sequence[str]) -> Any:
    """A function from the result of a trained world to its tables: every arm with these measures."""

    def tables(result: dict[str, Any]) -> list[Any]:
        titles = [name.replace(": ", ":\n").replace(", ", ",\n") for name in columns]
        out = table(result["title"], result["says"], titles, first="arm")
        rows, asides = rows_and_asides(result, columns)
        for name, cells in rows.items():
            out.add_row(name, *(number(cell["mean"]) for cell in cells.values()))
        told = {
            name: ", ".join(f"{what} {number(cell['mean'])}" for what, cell in cells.items())
            for name, cells in asides.items()
        }
        return [out, *(line(f"{name}: {said}") for name, said in told.items())]

    return tables


def closed_forms(result: dict[str, Any]) -> list[Any]:
    """The curves at some numbers of examples, closed form and run of the model, and the notebook's numbers."""
    shown = (0, 5, 20)
    tasks = {"target": "theta_0", "opposite": "-theta_0"}
    titles = [f"{said}\n{n} shots" for said in tasks.values() for n in shown]
    caption = (
        f"Closed form, and the mean of {result['samples']:,} runs of the model; the largest deviation at any point is "
        f"{result['worst']:.2%}."
    )
    out = table("risk by the closed forms", caption, titles, first="model")
    for name, curves in result["curves"].items():
        cells = []
        for task in tasks:
            for n in shown:
                run = curves[task]["sampled"][result["sampled_at"].index(n)]["mean"]
                cells.append(f"{curves[task]['exact'][n]:.3f} [dim]{run:.3f}[/dim]")
        out.add_row(name, *cells)
    named = table("numbers that the paper names", "By the closed forms.", ("",), first="what")
    for what, value in result["numbers"].items():
        named.add_row(what, f"{value:.4f}")
    return [out, named]


def number(value: float) -> str:
    """Three decimals below 10, one above, none above 100."""
    return f"{value:.{3 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
