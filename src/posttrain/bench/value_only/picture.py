"""Risk by the number of examples as a picture: closed forms with runs of the model over them, or trained models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.figures import FAINT, INK
from posttrain.bench.value_only.linear import TASKS, measure
from posttrain.extras import need

GREY, BLUE, SKY, GREEN, ORANGE = "#6b7280", "#0072b2", "#56b4e9", "#009e73", "#d55e00"
STYLES = {
    "pretrained": {"color": GREY, "linestyle": "-"},
    "ZS (all)": {"color": BLUE, "linestyle": "--"},
    "ZS (all), second family": {"color": SKY, "linestyle": ":"},
    "ZS+FS (all)": {"color": BLUE, "linestyle": "-"},
    "ZS (Q)": {"color": GREEN, "linestyle": "--"},
    "ZS (V)": {"color": ORANGE, "linestyle": "--"},
    "ZS+FS (V)": {"color": ORANGE, "linestyle": "-"},
}
"""A colour for what is tuned; dashed without the few-shot loss."""
TITLES = {
    "target": "the task of tuning, $\\theta_0$",
    "opposite": "the opposite task, $-\\theta_0$",
    "random": "random tasks",
}


def closed_forms(result: dict[str, Any], path: Path) -> Path:
    """Draw the closed forms; whole or not there."""
    figure, axes = _panels(2)
    for axis, task in zip(axes, ("target", "opposite"), strict=True):
        for name, curves in result["curves"].items():
            axis.plot(curves[task]["exact"], linewidth=2.2, label=name, **STYLES[name])
            sampled = [run["mean"] for run in curves[task]["sampled"]]
            axis.plot(
                result["sampled_at"], sampled, "o", color=STYLES[name]["color"], markersize=5, markeredgecolor="white"
            )
        _frame(axis, task, result["shots"])
    axes[0].set_ylim(0.08, 6)
    head = f"Linear attention: closed forms (lines), {result['samples']:,} runs of the model (dots)"
    return _finished(figure, axes, head, path)


def trained(result: dict[str, Any], path: Path) -> Path:
    """Draw trained models; whole or not there."""
    figure, axes = _panels(3)
    shots = result["setup"]["shots"]
    for axis, task in zip(axes, TASKS, strict=True):
        for name, arm in result["arms"].items():
            if name in STYLES:
                cells = [arm["measured"][measure(task, n)] for n in range(shots + 1)]
                axis.plot([cell["mean"] for cell in cells], linewidth=2.2, label=name, **STYLES[name])
                low, high = [cell["low"] for cell in cells], [cell["high"] for cell in cells]
                axis.fill_between(range(shots + 1), low, high, color=STYLES[name]["color"], alpha=0.15, linewidth=0)
        _frame(axis, task, shots)
    head = f"Linear attention, trained: exact risks, n = {result['n']} seeds, 95 % of the mean"
    return _finished(figure, axes, head, path)


def _panels(many: int) -> tuple[Any, Sequence[Any]]:
    pyplot = figures.pyplot()
    figure, axes = pyplot.subplots(1, many, figsize=(1.6 + 4.1 * many, 4.9), layout="constrained", sharey=True)
    axes[0].set_ylabel("risk", color=INK)
    return figure, axes


def _frame(axis: Any, task: str, shots: int) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(need("matplotlib.ticker").LogLocator(subs=(1.0, 3.0)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(lambda *_: "")
    axis.set_xticks(range(0, shots + 1, 5))
    axis.set_xlim(-0.4, shots + 0.4)
    axis.set_xlabel("examples in the prompt", color=INK)
    axis.set_title(TITLES[task], color=INK, loc="left", fontsize=10.5, fontweight="bold")
    axis.axhline(0.1, color=FAINT, linewidth=0.8, zorder=1)
    figures.frame(axis)


def _finished(figure: Any, axes: Sequence[Any], head: str, path: Path) -> Path:
    place = {"xycoords": ("axes fraction", "data"), "xytext": (0, -3), "textcoords": "offset points"}
    axes[0].annotate("noise", (0.99, 0.1), ha="right", va="top", fontsize=8.5, color=FAINT, **place)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, handlelength=2.6)
    figure.suptitle(head, x=0.008, ha="left", fontsize=11, color=INK)
    return figures.saved(figure, path)
