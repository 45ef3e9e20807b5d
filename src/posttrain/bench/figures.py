"""A figure as a PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.extras import need
from posttrain.files import whole


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
