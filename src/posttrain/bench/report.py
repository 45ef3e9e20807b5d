"""A comparison as a table for the terminal and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.bench import figures
from posttrain.bench.table import table

_arms = partial(table, first="arm")

COLORS = (
    "#4c566a", "#2a7ab0", "#d08770", "#5b9a54", "#c9a227", "#8a5fa8", "#a03c4c", "#3aa6a0", "#b07aa1", "#7f7f7f",
)  # fmt: skip
"""One per arm, in order; the first is the arm others are compared with."""


def tables(result: dict[str, Any]) -> list[Any]:
    """Rich tables of one row per arm: how fast each learns, where it ends and what it costs, what else was measured."""
    learning = _arms(
        f"{result['config']['task']}: {result['n']} seeds, {_scale(result)}",
        "success: right answers among the completions sampled while training. area: mean over training of the "
        f"greedy accuracy on {result['config']['eval_rows']} evaluation prompts. gain: difference to {result['first']} "
        "on the same seeds, with a 95 % bootstrap interval; wins: seeds on which it is positive.",
        ("success", "gain", "wins", "area", "gain", "wins"),
    )
    for label, arm in result["arms"].items():
        gaps = [arm["sampled_auc_minus_first"], arm["auc_minus_first"]]
        success, area = (
            (_gain(gap), f"{gap['wins']}/{gap['n']}") if label != result["first"] else ("", "") for gap in gaps
        )
        learning.add_row(
            _spaced(label), f"{arm['sampled_auc']['mean']:.3f}", *success, f"{arm['auc']['mean']:.3f}", *area
        )
    return [learning, _ending(result), *_measured(result)]


def _spaced(label: str) -> str:
    """An arm's label with places where a line may break."""
    return label.replace(":", ": ").replace(",", ", ").replace("|", " | ")


def _ending(result: dict[str, Any]) -> Any:
    """Final accuracy, distance to the teacher where there is one, vetoes and cost."""
    has_teacher = "final_teacher_kl" in result["arms"][result["first"]]
    distance = ("KL to the teacher",) if has_teacher else ()
    ending = _arms(
        "at the end",
        "final: greedy accuracy on the evaluation prompts."
        + (" KL: nats per token." if has_teacher else "")
        + " veto: tokens without a gradient, of those with A > 0 and with A < 0. tokens and seconds: of one run.",
        ("final", *groups(result), *distance, "veto A>0", "veto A<0", "tokens", "seconds"),
    )
    for label, arm in result["arms"].items():
        ending.add_row(
            _spaced(label),
            f"{arm['final']['mean']:.3f}",
            *(f"{arm['final_by_group'][g]['mean']:.3f}" for g in groups(result)),
            *([f"{arm['final_teacher_kl']['mean']:.3f}"] if has_teacher else []),
            _share(arm["veto_positive"]),
            _share(arm["veto_negative"]),
            f"{arm['tokens'] / 1000:.0f}k",
            f"{arm['seconds']:.0f}",
        )
    return ending


def _measured(result: dict[str, Any]) -> list[Any]:
    """What the task measures at the end; at most six columns a table."""
    names, found = measures(result), []
    for start in range(0, len(names), 6):
        part = names[start : start + 6]
        caption = "mean over seeds and half the width of its 95 % interval; - where an arm has no such thing."
        measured = _arms("measured at the end", caption, part)
        for label, arm in result["arms"].items():
            measured.add_row(_spaced(label), *(_spread(arm["measured"].get(name)) for name in part))
        found.append(measured)
    return found


def measures(result: dict[str, Any]) -> list[str]:
    """The names of what any arm was measured by at the end; none in results of tasks that measure nothing more."""
    return list(dict.fromkeys(name for arm in result["arms"].values() for name in arm.get("measured", {})))


def _scale(result: dict[str, Any]) -> str:
    config = result["config"]
    return f"{config['steps']} steps of {config['prompts']} x {config['group_size']} completions"


def _spread(value: dict[str, float] | None) -> str:
    if value is None:
        return "-"
    digits = 1 if abs(value["mean"]) >= 10 else 3
    half = (value["high"] - value["low"]) / 2
    return f"{value['mean']:.{digits}f} ±{half:.{digits}f}" if value["n"] > 1 else f"{value['mean']:.{digits}f}"


def groups(result: dict[str, Any]) -> list[str]:
    """The evaluation groups, such as `2 people`."""
    return list(next(iter(result["arms"].values()))["final_by_group"])


def _gain(value: dict[str, float]) -> str:
    """A paired difference; one seed has no interval."""
    if value["n"] == 1:
        return f"{value['mean']:+.3f}"
    return f"{value['mean']:+.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def picture(result: dict[str, Any], path: Path, *, title: str) -> Path:
    """Success while training and on evaluation prompts, then what the task measures; whole or not there."""
    pyplot = figures.pyplot()
    style = {
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
        "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.edgecolor": "#888888",
    }  # fmt: skip
    draw = [_draw_success, _draw_accuracy, *(partial(_draw_log, name=name) for name in result.get("curves", {}))]
    if names := measures(result):
        draw += [partial(_draw_measure, name=name) for name in names]
    else:
        draw += [_draw_groups, _draw_gains]
    columns = 2 if len(draw) == 4 else 3
    rows = math.ceil(len(draw) / columns)
    with pyplot.rc_context(style):
        height = rows * (2.6 + 0.12 * len(result["arms"])) + 1
        figure, axes = pyplot.subplots(rows, columns, figsize=(12, height), layout="constrained")
        for axis, function in zip_longest(axes.flat, draw):
            if function is None:
                axis.set_visible(False)
            else:
                function(axis, result)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels), frameon=False)
        figure.suptitle(
            f"{title}\n{result['n']} seeds, {_scale(result)}; bands and bars are 95 % intervals over seeds",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
        return figures.saved(figure, path, dpi=120)


def legend_columns(labels: Sequence[str], most: int = 5, room: int = 165) -> int:
    """Into how many columns the labels go, filled one after the other, so that a line has `room` characters."""

    def width(columns: int) -> int:
        return sum(8 + max(map(len, part)) for part in np.array_split(labels, columns))

    return next((n for n in range(min(len(labels), most), 1, -1) if width(n) <= room), 1)


def _colors(result: dict[str, Any]) -> dict[str, str]:
    return {label: COLORS[i % len(COLORS)] for i, label in enumerate(result["arms"])}


def _draw_success(axis: Any, result: dict[str, Any]) -> None:
    """Share of right answers among the sampled completions, a mean over five steps."""
    for label, arm in result["arms"].items():
        mean, half = (_smooth(values) for values in arm["sampled_curve"])
        steps = np.arange(1, len(mean) + 1)
        color = _colors(result)[label]
        axis.plot(steps, mean, color=color, label=label, linewidth=1.8)
        axis.fill_between(steps, mean - half, mean + half, color=color, alpha=0.12, linewidth=0)
    axis.set(title="Success of the sampled completions", xlabel="optimiser steps", ylim=(0, 1))
    axis.grid(axis="y", alpha=0.25)


def _smooth(values: list[float], width: int = 5) -> Any:
    """A centred moving mean; shorter windows at the ends."""
    array = np.asarray(values)
    return np.asarray([array[max(0, i - width // 2) : i + width // 2 + 1].mean() for i in range(len(array))])


def _draw_accuracy(axis: Any, result: dict[str, Any]) -> None:
    """Mean over seeds, with the 95 % interval of the mean as a band."""
    for label, arm in result["arms"].items():
        curves = np.asarray(arm["curves"])
        mean, color = curves.mean(axis=0), _colors(result)[label]
        axis.plot(arm["steps"], mean, color=color, linewidth=1.8)
        if len(curves) > 1:
            half = 1.96 * curves.std(axis=0, ddof=1) / math.sqrt(len(curves))
            axis.fill_between(arm["steps"], mean - half, mean + half, color=color, alpha=0.12, linewidth=0)
    axis.set(title="Greedy accuracy, evaluation prompts", xlabel="optimiser steps", ylim=(0, 1))
    axis.grid(axis="y", alpha=0.25)


def _draw_log(axis: Any, result: dict[str, Any], name: str) -> None:
    """A metric of the training log, a mean over five steps."""
    for label, arm in result["arms"].items():
        mean, half = (_smooth(values) for values in arm["logged"][name])
        steps, color = np.arange(1, len(mean) + 1), _colors(result)[label]
        axis.plot(steps, mean, color=color, linewidth=1.8)
        axis.fill_between(steps, mean - half, mean + half, color=color, alpha=0.12, linewidth=0)
    axis.set(title=result["curves"][name], xlabel="optimiser steps")
    axis.set_ylim(bottom=min(0.0, axis.dataLim.ymin))
    axis.grid(axis="y", alpha=0.25)


def _draw_measure(axis: Any, result: dict[str, Any], name: str) -> None:
    """One measure at the end: a small dot per seed, a large one and a bar for the mean of an arm."""
    labels = list(result["arms"])
    for i, label in enumerate(labels):
        found = result["arms"][label]["measured"].get(name)
        if found is None:
            continue
        color, seeds = _colors(result)[label], found["by_seed"]
        offsets = np.linspace(-0.2, 0.2, len(seeds)) if len(seeds) > 1 else np.zeros(1)
        axis.scatter(seeds, i + offsets, color=color, alpha=0.45, s=12, linewidths=0)
        axis.plot([found["low"], found["high"]], [i, i], color=color, linewidth=2.5)
        axis.plot(found["mean"], i, "o", color=color, markersize=7)
    axis.set_yticks([])
    axis.locator_params(axis="x", nbins=5)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set(title=name[0].upper() + name[1:])
    axis.grid(axis="x", alpha=0.25)


def _draw_groups(axis: Any, result: dict[str, Any]) -> None:
    """Final accuracy by group, one bar per arm."""
    names = groups(result)
    width = 0.84 / len(result["arms"])
    for i, (label, arm) in enumerate(result["arms"].items()):
        values = [arm["final_by_group"][g] for g in names]
        x = np.arange(len(names)) - 0.42 + (i + 0.5) * width
        errors = [[v["mean"] - v["low"] for v in values], [v["high"] - v["mean"] for v in values]]
        axis.bar(x, [v["mean"] for v in values], width * 0.92, color=_colors(result)[label],
                 yerr=errors if result["n"] > 1 else None, error_kw={"elinewidth": 1, "ecolor": "#333333"})  # fmt: skip
    axis.set_xticks(np.arange(len(names)), names)
    axis.set(title="Final greedy accuracy", ylim=(0, 1))
    axis.grid(axis="y", alpha=0.25)


def _draw_gains(axis: Any, result: dict[str, Any]) -> None:
    """Success minus the first arm's on the same seed: a small dot per seed, a large one and a bar for the mean."""
    first = result["first"]
    others = [label for label in result["arms"] if label != first]
    base = np.asarray(result["arms"][first]["sampled_auc_by_seed"])
    for i, label in enumerate(others):
        gaps = np.asarray(result["arms"][label]["sampled_auc_by_seed"]) - base
        interval = result["arms"][label]["sampled_auc_minus_first"]
        color = _colors(result)[label]
        offsets = np.linspace(-0.18, 0.18, len(gaps)) if len(gaps) > 1 else np.zeros(1)
        axis.scatter(gaps, i + offsets, color=color, alpha=0.5, s=16, linewidths=0)
        axis.plot([interval["low"], interval["high"]], [i, i], color=color, linewidth=2.5)
        axis.plot(interval["mean"], i, "o", color=color, markersize=8)
    axis.axvline(0, color="#888888", linewidth=1)
    axis.set_yticks(range(len(others)), [wrap(label) for label in others], fontsize=8)
    axis.set_ylim(len(others) - 0.5, -0.5)
    axis.set(title=f"Gain in success over {first}, seed by seed")
    axis.grid(axis="x", alpha=0.25)


def wrap(label: str) -> str:
    """An arm's label in at most two short lines."""
    name, _, options = label.partition(":")
    if len(label) <= 18:
        return label.replace(":", " ")
    return f"{name}\n{options if len(options) <= 26 else options[:25] + '…'}"
