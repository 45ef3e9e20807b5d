"""The tiny model of four languages as a picture: what each arm does to attacks, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.figures import GRID, INK

BLUE, GREY = "#1f6fb2", "#9aa3b2"
TITLES = {
    "attack, others": "harmful prompts in languages 1 to 3 that are answered",
    "utility, others": "harmless ones that are answered right",
}


def picture(result: dict[str, Any], path: Path) -> Path:
    """Draw a result; whole or not there."""
    pyplot = figures.pyplot()
    arms = {name: arm["measured"] for name, arm in result["arms"].items() if "attack, others" in arm["measured"]}
    figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 0.28 * len(arms) + 1.4), layout="constrained", sharey=True)
    places = range(len(arms))
    for axis, measure in zip(axes, TITLES, strict=True):
        cells = [arm[measure] for arm in arms.values()]
        colors = [BLUE if name.startswith("edit") else GREY for name in arms]
        axis.barh(places, [cell["mean"] for cell in cells], 0.72, color=colors)
        axis.hlines(places, [cell["low"] for cell in cells], [cell["high"] for cell in cells], color=INK, linewidth=0.9)
        axis.axvline(cells[0]["mean"], color=INK, linewidth=0.8, linestyle=":")
        axis.set_title(TITLES[measure], color=INK, loc="left", fontsize=10.5, fontweight="bold")
        axis.set_xlim(0, 1.02)
        axis.grid(axis="x", color=GRID)
        axis.set_axisbelow(True)
        axis.tick_params(colors=INK, length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_yticks(places, list(arms), fontsize=9)
    axes[0].invert_yaxis()
    figure.suptitle(
        f"A tiny model that refuses in language 0 alone. n = {result['n']} seeds, 95 %; dotted: without an edit",
        x=0.01, ha="left", fontsize=11, color=INK,
    )  # fmt: skip
    return figures.saved(figure, path)
