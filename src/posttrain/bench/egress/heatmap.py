"""The result as a picture: attacks by defences, above what ordinary work suffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.bench import figures
from posttrain.bench.egress.report import label
from posttrain.bench.figures import FAINT, INK
from posttrain.extras import need

PANELS = (
    ("part", "runs that leaked any part"),
    ("leak_all", "share of the secret leaked (Leak@all)"),
)
WORK = (("alarm", "false alarms"), ("task", "tasks done"))
STYLE = {"font.size": 9, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left"}
RULE = "#b4bbc6"
SHADES = ("#eef1f5", "#f7cdb9", "#e9735c", "#b3151b")
"""Of 0 to 1."""


def picture(result: dict[str, Any], path: Path) -> Path:
    """Draw a result; whole or not there."""
    pyplot = figures.pyplot()
    attacks = sorted(result["attacks"], key=lambda label: result["attacks"][label]["allowed_host"])
    defences = list(result["defences"])
    width, height = 5.4 + 0.62 * max(len(defences), 8), 3.1 + 0.235 * len(attacks)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            2, 2, figsize=(width, height), height_ratios=(len(attacks), 2.2), layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06, hspace=0.02, wspace=0.01)
        _, cells = (
            _panel(axis, result, attacks, defences, *panel) for axis, panel in zip(axes[0], PANELS, strict=True)
        )
        _rows(axes[0][0], result, attacks)
        axes[0][1].set_yticks([])
        bar = figure.colorbar(cells, ax=axes[0], shrink=0.3, aspect=18, anchor=(0, 1), ticks=(0, 0.5, 1))
        bar.outline.set_visible(False)
        for axis, (key, title) in zip(axes[1], WORK, strict=True):
            _work(axis, result, defences, key, title)
        head = f"Silent Egress, grid {result['grid']['name']}"
        figure.suptitle(f"{head}   ·   {result['says']}", x=0.012, ha="left", fontsize=12, color=INK)
        return figures.saved(figure, path)


def _panel(
    axis: Any, result: dict[str, Any], attacks: Sequence[str], defences: Sequence[str], key: str, title: str
) -> Any:
    """One heat map; gives its cells."""
    cells = _cells(axis, _matrix(result, attacks, defences, key))
    _columns(axis, result, defences)
    _rules(axis, result, attacks, defences)
    axis.set_title(title, pad=14, color=INK)
    return cells


def _matrix(result: dict[str, Any], attacks: Sequence[str], defences: Sequence[str], key: str) -> np.ndarray:
    """(attacks, defences); NaN where every run broke."""
    found = {(cell["attack"], cell["defence"]): cell[key] for cell in result["cells"]}
    return np.array([[found[attack, defence] for defence in defences] for attack in attacks], dtype=float)


def _cells(axis: Any, values: np.ndarray) -> Any:
    """Coloured cells, with a number where it is neither 0 nor 1, and a cross where there is none."""
    colors = need("matplotlib.colors").LinearSegmentedColormap.from_list("leaks", SHADES)
    cells = axis.pcolormesh(values, cmap=colors, vmin=0, vmax=1, edgecolors="white", linewidth=1.4)
    axis.invert_yaxis()
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value) or 0 < value < 1:
            text = "×" if np.isnan(value) else f"{value:.2f}".removeprefix("0")
            color = "white" if value > 0.65 else INK
            axis.text(column + 0.5, row + 0.53, text, ha="center", va="center", fontsize=7, color=color)
    axis.tick_params(length=0, colors=INK)
    axis.set_frame_on(False)
    return cells


def _columns(axis: Any, result: dict[str, Any], defences: Sequence[str]) -> None:
    """The defences' names, slanted, above the cells."""
    axis.xaxis.tick_top()
    names = [label(result, name) for name in defences]
    axis.set_xticks(np.arange(len(defences)) + 0.5, names, rotation=45, ha="left", rotation_mode="anchor")
    for text, name in zip(axis.get_xticklabels(), defences, strict=True):
        text.set_fontweight("bold" if result["defences"][name]["layer"] == "stack" else "normal")


def _rows(axis: Any, result: dict[str, Any], attacks: Sequence[str]) -> None:
    """What varies in each attack beside its row, and the name of the block beside the first of it."""
    axis.set_yticks(np.arange(len(attacks)) + 0.5, [label.partition(": ")[2] for label in attacks])
    names = {
        start: f"{block}, allowed host" if allowed else block for start, block, allowed in _blocks(result, attacks)
    }
    values = (len(label.partition(": ")[2]) for label in attacks)
    left = 12 + max(5.4 * len(name) + 4.8 * value for name, value in _beside(names, list(values)))
    for start, name in names.items():
        axis.annotate(
            name, (0, start + 0.5), xytext=(-left, 0), xycoords=axis.get_yaxis_transform(), textcoords="offset points",
            va="center", fontweight="bold", color=INK,
        )  # fmt: skip


def _beside(names: dict[int, str], lengths: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Each block's name, and the length of the longest label that stands beside it or below."""
    starts = [*names, len(lengths)]
    for start, end in pairwise(starts):
        yield names[start], max(lengths[start:end])


def _rules(axis: Any, result: dict[str, Any], attacks: Sequence[str], defences: Sequence[str]) -> None:
    """Gaps between blocks of attacks and layers of defences; a line before attacks through allowed hosts."""
    for start, _, _ in _blocks(result, attacks):
        if start:
            before, here = (result["attacks"][attacks[i]]["allowed_host"] for i in (start - 1, start))
            axis.axhline(start, color=INK if here != before else RULE, linewidth=1.4 if here != before else 0.9)
    layers = [result["defences"][name]["layer"] for name in defences]
    for column, (before, after) in enumerate(pairwise(layers), 1):
        if before != after:
            axis.axvline(column, color=RULE, linewidth=0.9)


def _blocks(result: dict[str, Any], attacks: Sequence[str]) -> Iterator[tuple[int, str, bool]]:
    """First row, name, and whether it goes through an allowed host, of each block."""
    allowed_host = [result["attacks"][label]["allowed_host"] for label in attacks]
    kinds = groupby(range(len(attacks)), lambda i: (attacks[i].partition(": ")[0], allowed_host[i]))
    for (block, allowed), rows in kinds:
        yield next(rows), block, allowed


def _work(axis: Any, result: dict[str, Any], defences: Sequence[str], key: str, title: str) -> None:
    """Bars of one share on ordinary pages."""
    shares = [result["rows"][name]["benign"].get(key, {}).get("mean", np.nan) for name in defences]
    axis.bar(np.arange(len(defences)) + 0.5, shares, width=0.7, color="#c44e52" if key == "alarm" else "#5b9a54")
    for column, share in enumerate(shares):
        if np.isfinite(share):
            axis.text(column + 0.5, share + 0.06, f"{share:.2f}", ha="center", fontsize=7, color=INK)
    axis.set(xlim=(0, len(defences)), ylim=(0, 1.35), xticks=[], yticks=[])
    axis.set_title(f"ordinary pages: {title}", fontsize=9, color=INK)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)
