"""A figure as a PNG file."""

from __future__ import annotations

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


def frame(axis: Any, grid: Literal["y", "both"] = "y") -> None:
    """Lines behind the data, no ticks, and axes at the bottom and on the left alone."""
    axis.grid(axis=grid, color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=INK, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["bottom", "left"]].set_color(FAINT)
