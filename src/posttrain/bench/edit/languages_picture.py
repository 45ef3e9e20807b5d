"""The tiny model of four languages as a picture: by how much each arm changes attacks, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.figures import INK
from posttrain.stats import paired

BLUE, GREY = "#1f6fb2", "#9aa3b2"
TITLES = {"attack, others": "harmful prompts that are answered", "utility, others": "harmless ones answered right"}


def picture(result: dict[str, Any], path: Path) -> Path:
    """Draw a result; whole or not there."""
    pyplot = figures.pyplot()
    arms = {name: arm["measured"] for name, arm in result["arms"].items() if "attack, others" in arm["measured"]}
    before = arms.pop("none")
    figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 0.28 * len(arms) + 1.6), layout="constrained", sharey=True)
    for axis, (measure, title) in zip(axes, TITLES.items(), strict=True):
        for place, (name, cells) in enumerate(arms.items()):
            change = paired(cells[measure]["by_seed"], before[measure]["by_seed"]).difference
            points = {end: 100 * value for end, value in change._asdict().items()}
            figures.across(axis, place, points, BLUE if name.startswith("edit") else GREY)
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.set_title(f"{title} ({before[measure]['mean']:.0%})", color=INK, loc="left", fontsize=10.5, weight="bold")
        axis.set_xlabel("change by the arm, points", color=INK)
        figures.frame(axis, "both")
        axis.spines["left"].set_visible(False)
    axes[0].set_yticks(range(len(arms)), list(arms), fontsize=9)
    axes[0].invert_yaxis()
    figure.suptitle(
        f"A tiny model that refuses in language 0 alone: languages 1 to 3, in brackets without an edit. "
        f"n = {result['n']} seeds, paired, 95 %",
        x=0.01, ha="left", fontsize=11, color=INK,
    )  # fmt: skip
    return figures.saved(figure, path)
