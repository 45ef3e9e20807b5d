"""The result as a picture: evidence found by length, or all beside new where there is one length; then by type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.ama.log import KINDS
from posttrain.bench.ama.methods.table import ABLATIONS, METHODS, OURS
from posttrain.bench.figures import GRID, INK

STYLE = {"font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left"}
OWN = "#1f6fb2"
COLORS = ("#b9c0cc", "#9aa3b2", "#d3a15f", "#c47a4a", "#7fae77", "#b48fc4", "#a3566b", "#5aa6a0", "#6b7280", "#c9b458")
MARKERS = "sDv^PXh*<>"
TITLES = {"A": "A  recall", "B": "B  causal", "C": "C  state", "D": "D  abstraction"}


def picture(result: dict[str, Any], path: Path) -> Path:
    """Draw a result; whole or not there."""
    pyplot = figures.pyplot()
    rows = {name: row for name, row in result["methods"].items() if "all" in row["all"]}
    shown = {name: row for name, row in rows.items() if not METHODS[name].ablation}
    lost = {part: rows[name] for part in ABLATIONS if (name := f"{OURS} without {part}") in rows}
    with pyplot.rc_context(STYLE):
        wide = 3 if lost and OURS in rows else 2
        ratios = [1.0, 1.5, 0.62][:wide]
        figure, axes = pyplot.subplots(
            1, wide, figsize=(4.6 * sum(ratios), 4.9), layout="constrained", gridspec_kw={"width_ratios": ratios}
        )
        lengths = list(dict.fromkeys(log["length"] for log in result["logs"]))
        if len(lengths) > 1:
            _lengths(axes[0], shown, lengths)
        else:
            _pairs(axes[0], shown)
        _kinds(axes[1], shown)
        if wide == 3:
            _ablations(axes[2], rows[OURS], lost)
        handles = [_handle(pyplot, name) for name in shown]
        figure.legend(handles=handles, loc="outside lower left", ncols=min(len(handles), 5), frameon=False)
        worlds = ", ".join(dict.fromkeys(log["world"] for log in result["logs"]))
        questions = sum(log["questions"] for log in result["logs"])
        head = f"AMA-Bench, {worlds}: {len(result['logs'])} logs, {questions:,} questions"
        figure.suptitle(f"{head}\n{result['says']}", x=0.008, ha="left", fontsize=11, color=INK)
        return figures.saved(figure, path)


def _style(name: str) -> dict[str, Any]:
    """Ours stands out; the others look the same in every picture."""
    if name == OURS:
        return {"color": OWN, "marker": "o", "linewidth": 2.4, "markersize": 6.5, "zorder": 5}
    number = [each for each, entry in METHODS.items() if each != OURS and not entry.ablation].index(name)
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    return {"color": color, "marker": marker, "linewidth": 1.3, "markersize": 5, "zorder": 3}


def _handle(pyplot: Any, name: str) -> Any:
    return pyplot.Line2D([], [], label=name, **_style(name))


def _lengths(axis: Any, rows: dict[str, Any], lengths: list[str]) -> None:
    """One line for each method."""
    for name, row in rows.items():
        cells = [row["lengths"].get(length, {}).get("", {}).get("all") for length in lengths]
        points = [(at, cell) for at, cell in enumerate(cells) if cell]
        places, means = [at for at, _ in points], [cell["mean"] for _, cell in points]
        style = _style(name)
        axis.plot(places, means, clip_on=False, **style)
        low, high = [cell["low"] for _, cell in points], [cell["high"] for _, cell in points]
        axis.fill_between(places, low, high, color=style["color"], alpha=0.1, linewidth=0)
    axis.set_xticks(range(len(lengths)), lengths)
    axis.set_xlim(-0.15, len(lengths) - 0.85)
    axis.set_xlabel("length of the log, tokens", color=INK)
    _frame(axis, "evidence found, by length")


def _pairs(axis: Any, rows: dict[str, Any]) -> None:
    """All beside new, for each method, with intervals."""
    for number, (name, row) in enumerate(rows.items()):
        style = _style(name)
        for at, measure in enumerate(("all", "new")):
            cell = row["all"].get(measure)
            if cell:
                spread = 0.06 * (number - (len(rows) - 1) / 2)
                _point(axis, at + spread, cell, style)
    axis.set_xticks((0, 1), ("all of it", "what the question\ndoes not name"))
    axis.set_xlim(-0.5, 1.5)
    _frame(axis, "evidence found")


def _kinds(axis: Any, rows: dict[str, Any]) -> None:
    """A bar for each type and method, with intervals."""
    width = 0.86 / max(1, len(rows))
    for number, (name, row) in enumerate(rows.items()):
        color = _style(name)["color"]
        for at, kind in enumerate(KINDS):
            cell = row["kinds"][kind].get("all")
            if cell:
                place = at + width * (number - (len(rows) - 1) / 2)
                axis.bar(place, cell["mean"], width * 0.9, color=color, zorder=3)
                axis.vlines(place, cell["low"], cell["high"], color=INK, linewidth=0.7, alpha=0.55, zorder=4)
    axis.set_xticks(range(len(KINDS)), [TITLES[kind] for kind in KINDS])
    axis.set_xlim(-0.55, len(KINDS) - 0.45)
    _frame(axis, "evidence found, by type of question")


def _ablations(axis: Any, whole_row: dict[str, Any], lost: dict[str, Any]) -> None:
    """For each part of the planner, the type that it is there for, with it and without."""
    for at, (part, row) in enumerate(lost.items()):
        kind = ABLATIONS[part]
        with_it, without = whole_row["kinds"][kind].get("all"), row["kinds"][kind].get("all")
        if with_it and without:
            axis.plot([at, at], [without["mean"], with_it["mean"]], color=GRID, linewidth=6, zorder=1,
                      solid_capstyle="round")  # fmt: skip
            _point(axis, at, with_it, {"color": OWN, "marker": "o", "markersize": 6.5})
            _point(axis, at, without, {"color": "#c44e52", "marker": "X", "markersize": 6.5})
    axis.set_xticks(range(len(lost)), [f"{part}\n({ABLATIONS[part]})" for part in lost])
    axis.set_xlim(-0.6, len(lost) - 0.4)
    _frame(axis, "ours, one part taken out")


def _point(axis: Any, place: float, cell: dict[str, float], style: dict[str, Any]) -> None:
    keys = {"color": style["color"], "marker": style["marker"], "markersize": style["markersize"]}
    ends = ([max(0.0, cell["mean"] - cell["low"])], [max(0.0, cell["high"] - cell["mean"])])
    axis.errorbar([place], [cell["mean"]], yerr=ends, linestyle="", elinewidth=1.1, capsize=2, zorder=4,
                  clip_on=False, **keys)  # fmt: skip


def _frame(axis: Any, title: str) -> None:
    axis.set_ylim(0, 1.02)
    axis.set_title(title, color=INK)
    figures.frame(axis)
