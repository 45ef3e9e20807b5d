"""A comparison as a table for the terminal and as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.extras import need
from posttrain.files import whole

COLORS = ("#4c566a", "#d08770", "#2a7ab0", "#8a5fa8", "#5b9a54", "#c9a227", "#a03c4c", "#3aa6a0")
"""One per arm, in order; the first is the arm others are compared with."""


def table(result: dict[str, Any]) -> Any:
    """A rich table with one row per arm, about 120 characters wide."""
    rich_table, box = need("rich.table"), need("rich.box")
    first, config = result["first"], result["config"]
    out = rich_table.Table(
        box=box.SIMPLE_HEAD,
        title=f"{config['task']}: {result['n']} seeds, {config['steps']} steps of {config['prompts']} x "
        f"{config['group_size']} completions",
        caption="success: share of right answers among the completions sampled while training. accuracy: greedy, on "
        f"{config['eval_rows']} held-out puzzles; area is its mean over training.\ngain: difference to {first} on the "
        "same seeds, with a 95 % bootstrap interval. veto: tokens without a gradient, of those with A > 0 and A < 0.",
        title_justify="left",
        caption_justify="left",
    )
    out.add_column("arm")
    for name in (
        "success",
        "gain",
        "wins",
        "area",
        "gain",
        "final",
        *groups(result),
        "KL to teacher",
        "veto",
        "tokens",
        "s",
    ):
        out.add_column(name, justify="right")
    for label, arm in result["arms"].items():
        success, area, other = arm["sampled_auc_minus_first"], arm["auc_minus_first"], label != first
        out.add_row(
            label,
            f"{arm['sampled_auc']['mean']:.3f}",
            _gain(success) if other else "",
            f"{success['wins']}/{success['n']}" if other else "",
            f"{arm['auc']['mean']:.3f}",
            _gain(area) if other else "",
            f"{arm['final']['mean']:.3f}",
            *(f"{arm['final_by_group'][g]['mean']:.2f}" for g in groups(result)),
            f"{arm['final_teacher_kl']['mean']:.3f}",
            f"{_share(arm['veto_positive'])} {_share(arm['veto_negative'])}",
            f"{arm['tokens'] / 1000:.0f}k",
            f"{arm['seconds']:.0f}",
        )
    return out


def groups(result: dict[str, Any]) -> list[str]:
    """The evaluation groups, such as `2 people`."""
    return list(next(iter(result["arms"].values()))["final_by_group"])


def _gain(value: dict[str, float]) -> str:
    """A paired difference; one seed has no interval."""
    if value["n"] == 1:
        return f"{value['mean']:+.3f}"
    return f"{value['mean']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def picture(result: dict[str, Any], path: Path, *, title: str) -> Path:
    """Learning curves, accuracy by group and paired gains, as a PNG; whole or not there."""
    need("matplotlib").use("Agg")
    pyplot = need("matplotlib.pyplot")
    style = {
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
        "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.edgecolor": "#888888",
    }  # fmt: skip
    with pyplot.rc_context(style):
        figure, (curves, bars, gains) = pyplot.subplots(
            1, 3, figsize=(13, 4.2), width_ratios=[1.6, 1.1, 1.1], layout="constrained"
        )
        _draw_curves(curves, result)
        _draw_groups(bars, result)
        _draw_gains(gains, result)
        handles, labels = curves.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        with whole(path) as partial:
            figure.savefig(partial, dpi=130, format="png")
        pyplot.close(figure)
    return path


def _colors(result: dict[str, Any]) -> dict[str, str]:
    return {label: COLORS[i % len(COLORS)] for i, label in enumerate(result["arms"])}


def _draw_curves(axis: Any, result: dict[str, Any]) -> None:
    """Mean over seeds, with the 95 % interval of the mean as a band."""
    for label, arm in result["arms"].items():
        curves = np.asarray(arm["curves"])
        mean = curves.mean(axis=0)
        axis.plot(arm["steps"], mean, color=_colors(result)[label], label=label, linewidth=2)
        if len(curves) > 1:
            half = 1.96 * curves.std(axis=0, ddof=1) / math.sqrt(len(curves))
            axis.fill_between(
                arm["steps"], mean - half, mean + half, color=_colors(result)[label], alpha=0.15, linewidth=0
            )
    axis.set(title="Accuracy while training", xlabel="optimiser steps", ylabel="greedy accuracy, held out")
    axis.set_ylim(0, 1)
    axis.grid(axis="y", alpha=0.25)


def _draw_groups(axis: Any, result: dict[str, Any]) -> None:
    """Final accuracy by group, one bar per arm."""
    names = groups(result)
    width = 0.8 / len(result["arms"])
    for i, (label, arm) in enumerate(result["arms"].items()):
        values = [arm["final_by_group"][g] for g in names]
        x = np.arange(len(names)) - 0.4 + (i + 0.5) * width
        heights = [v["mean"] for v in values]
        errors = [[v["mean"] - v["low"] for v in values], [v["high"] - v["mean"] for v in values]]
        axis.bar(x, heights, width * 0.92, color=_colors(result)[label], yerr=errors if result["n"] > 1 else None,
                 error_kw={"elinewidth": 1, "ecolor": "#333333"})  # fmt: skip
    axis.set_xticks(np.arange(len(names)), names)
    axis.set(title="Final accuracy", ylim=(0, 1))
    axis.grid(axis="y", alpha=0.25)


def _draw_gains(axis: Any, result: dict[str, Any]) -> None:
    """Area under the curve minus the first arm's on the same seed: a dot per seed, a bar for the interval."""
    first = result["first"]
    others = [label for label in result["arms"] if label != first]
    base = np.asarray(result["arms"][first]["auc_by_seed"])
    for i, label in enumerate(others):
        gaps = np.asarray(result["arms"][label]["auc_by_seed"]) - base
        interval = result["arms"][label]["auc_minus_first"]
        color = _colors(result)[label]
        offsets = np.linspace(-0.16, 0.16, len(gaps)) if len(gaps) > 1 else [0.0]
        axis.scatter(gaps, i + np.asarray(offsets), color=color, alpha=0.45, s=14, linewidths=0)
        axis.plot([interval["low"], interval["high"]], [i, i], color=color, linewidth=2)
        axis.plot(interval["mean"], i, "o", color=color, markersize=7)
    axis.axvline(0, color="#888888", linewidth=1)
    axis.set_yticks(range(len(others)), others)
    axis.set_ylim(len(others) - 0.5, -0.5)
    axis.set(title=f"Gain in area over {first}, paired", xlabel="difference")
