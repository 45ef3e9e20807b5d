"""The softmax model as a picture: what each arm learnt and lost, and the choice of learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.figures import INK, across, frame
from posttrain.bench.value_only.picture import BLUE, GREEN, GREY, ORANGE
from posttrain.bench.value_only.softmax import ARMS, NONE, choose, measure
from posttrain.bench.value_only.softmax import GRID as RATES
from posttrain.extras import need

PURPLE = "#cc79a7"
COLORS = {"qkvo": BLUE, "v": ORANGE, "qk": GREEN, "vo": PURPLE}
"""By what is tuned, as in the pictures of the linear model."""


def picture(result: dict[str, Any], path: Path) -> Path:
    """Draw a result, a row per arm; whole or not there."""
    shots, arms = result["setup"]["shape"]["shots"], result["arms"]
    panels = {
        measure("target", 0): "learnt: target, no examples",
        measure("random", shots): f"kept: random tasks, {shots} examples",
        measure("opposite", shots): f"kept: the opposite task, {shots} examples",
    }
    pyplot, ticks = figures.pyplot(), need("matplotlib.ticker").LogLocator
    figure, axes = pyplot.subplots(1, 3, figsize=(14.5, 4.9), layout="constrained", sharey=True)
    names = list(ARMS)
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        before = arms[NONE]["measured"][name]["mean"]
        axis.axvline(before, color=GREY, linewidth=1.2, linestyle=":")
        axis.annotate("before", (before, 1), xycoords=("data", "axes fraction"), xytext=(4, -3),
                      textcoords="offset points", va="top", fontsize=8.5, color=GREY)  # fmt: skip
        for row, arm in enumerate(names):
            cells = arms[arm]["measured"]
            matched = cells.get(f"matched: {name}") if cells["learnt"]["mean"] == 1 else None
            if matched is not None:
                across(axis, row + 0.16, matched, COLORS[ARMS[arm].parts], hollow=True)
            across(axis, row - 0.16 * (matched is not None), cells[name], COLORS[ARMS[arm].parts])
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(ticks(subs=(1.0,) if axis is axes[0] else (1.0, 3.0)))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_formatter(lambda *_: "")
        axis.set_title(title, color=INK, loc="left", fontsize=10.5, fontweight="bold")
        axis.set_xlabel("squared error", color=INK)
        frame(axis, grid="both")
    axes[0].set_yticks(range(len(names)), [f"{arm}  (rank {ARMS[arm].rank})" for arm in names])
    axes[0].set_ylim(len(names) - 0.4, -0.9)
    point = {"color": INK, "marker": "o", "linestyle": ""}
    matched = f"when the target's error first fell to {100 * result['setup']['matched']:g} %"
    ends = [
        pyplot.Line2D([], [], label="at the end of tuning", **point),
        pyplot.Line2D([], [], label=matched, markerfacecolor="white", **point),
    ]
    figure.legend(handles=ends, loc="outside lower left", ncols=2, frameon=False)
    token = "with" if result["setup"]["shape"]["start_token"] else "without"
    head = (
        f"A small softmax transformer {token} a start token, tuned on one task by LoRA. n = {result['n']} seeds, 95 %"
    )
    figure.suptitle(head, x=0.008, ha="left", fontsize=11, color=INK)
    return figures.saved(figure, path)


def rates(result: dict[str, Any], path: Path) -> Path:
    """Draw the errors by learning rate, the chosen one filled; whole or not there."""
    chosen = choose(result)["chosen"]
    shots = result["setup"]["shape"]["shots"]
    figure, axes = figures.pyplot().subplots(
        2, len(ARMS), figsize=(1.9 * len(ARMS), 5.2), layout="constrained", sharex=True, sharey="row"
    )
    for column, (arm, about) in enumerate(ARMS.items()):
        for axis, name in zip(axes[:, column], (measure("target", 0), measure("random", shots)), strict=True):
            means = [result["arms"][f"{arm} at {rate:g}"]["measured"][name]["mean"] for rate in RATES]
            color, at = COLORS[about.parts], RATES.index(chosen[arm])
            axis.plot(RATES, means, color=color, linewidth=1.6, marker="o", markerfacecolor="white")
            axis.plot(RATES[at], means[at], "o", color=color, markersize=8)
            axis.axhline(result["arms"][NONE]["measured"][name]["mean"], color=GREY, linewidth=1.2, linestyle=":")
            axis.set(xscale="log", yscale="log")
            frame(axis, grid="both")
        axes[0, column].set_title(arm, color=INK, loc="left", fontsize=9.5, fontweight="bold")
    axes[0, 0].set_ylabel("target, no examples", color=INK)
    axes[1, 0].set_ylabel(f"random tasks, {shots} examples", color=INK)
    figure.supxlabel("learning rate", color=INK, fontsize=10)
    head = f"Squared error by learning rate, n = {result['n']} seeds; filled: chosen; dotted: before tuning"
    figure.suptitle(head, x=0.008, ha="left", fontsize=11, color=INK)
    return figures.saved(figure, path)
