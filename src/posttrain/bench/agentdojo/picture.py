"""The result as a picture: the user's task done against injections carried out, by defence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.figures import FAINT, INK

PANELS = (("attacked", "with an injection"), ("ordinary", "without one"))
STYLE = {"font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left"}
COLORS = ("#c44e52", "#2a7ab0", "#5b9a54", "#8f6bb3", "#d08a2e", "#5c6370", "#b0577f", "#3aa39a")
MARKERS = "oDs^vPX*"


def picture(result: dict[str, Any], path: Path) -> Path:
    """Draw a result; whole or not there."""
    pyplot = figures.pyplot()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 2, figsize=(9.6, 4.6), sharex=True, sharey=True, layout="constrained")
        for axis, (runs, title) in zip(axes, PANELS, strict=True):
            _panel(axis, result, runs)
            axis.set_title(f"utility {title}", color=INK)
        axes[0].set_ylabel("user's task done, share of runs", color=INK)
        figure.supxlabel("injection carried out, share of runs with an injection (0 is safe)", fontsize=9.5, color=INK)
        handles, labels = axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside right upper", frameon=False)
        head = f"AgentDojo {result['suite']} {result['version']}, attack {result['attack']}"
        figure.suptitle(f"{head}\n{result['says']}", x=0.012, ha="left", fontsize=11, color=INK)
        return figures.saved(figure, path)


def _panel(axis: Any, result: dict[str, Any], runs: str) -> None:
    """One point with both intervals for each defence; none where all runs broke."""
    for number, (name, row) in enumerate(result["rows"].items()):
        across, up = row["attacked"]["carried_out"], row[runs]["utility"]
        if across is None or up is None:
            continue
        axis.errorbar(
            across["mean"], up["mean"], xerr=_ends(across), yerr=_ends(up), label=name, linestyle="",
            marker=MARKERS[number % len(MARKERS)], color=COLORS[number % len(COLORS)], markersize=7,
            elinewidth=1.1, capsize=2.5, clip_on=False, zorder=3,
        )  # fmt: skip
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axis.annotate(
        "↖ safe and useful", (1, 1), xytext=(0, 6), xycoords="axes fraction", textcoords="offset points",
        color=FAINT, fontsize=8.5, ha="right",
    )  # fmt: skip
    axis.grid(color="#e6e9ee", linewidth=0.8)
    axis.tick_params(colors=INK, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["bottom", "left"]].set_color(FAINT)


def _ends(value: dict[str, float]) -> tuple[tuple[float], tuple[float]]:
    """How far the interval reaches below and above."""
    return (max(0.0, value["mean"] - value["low"]),), (max(0.0, value["high"] - value["mean"]),)
