"""A figure as a PNG file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from posttrain.extras import need
from posttrain.files import whole

INK, FAINT, GRID = "#3b4252", "#8d96a5", "#e6e9ee"
"""Of letters, of axes, and of the lines behind data."""


def pyplot() -> Any:
    """Matplotlib's pyplot, for files alone: no window is opened."""
    need("matplotlib").use("Agg")
    return need("matplotlib.pyplot")


def saved(figure: Any, path: Path, dpi: int = 130) -> Path:
    """Write a figure, whole or not at all, and let go of it."""
    with whole(path) as partial:
        figure.savefig(partial, dpi=dpi, format="png")
    pyplot().close(figure)
    return path


def across(axis: Any, row: float, cell: Mapping[str, float], color: str, *, hollow: bool = False) -> None:
    """A mean as a dot and its interval as a line, at a row."""
    axis.hlines(row, cell["low"], cell["high"], color=color, linewidth=1.6, alpha=0.7, zorder=3)
    face = "white" if hollow else color
    axis.plot(cell["mean"], row, "o", color=color, markerfacecolor=face, markersize=6.5, zorder=4, clip_on=False)


def frame(axis: Any, grid: Literal["y", "both"] = "y") -> None:
    """Lines behind the data, no ticks, and axes at the bottom and on the left alone."""
    axis.grid(axis=grid, color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=INK, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["bottom", "left"]].set_color(FAINT)
