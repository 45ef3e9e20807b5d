"""The planted layer as a picture: what gamma does, and what the other arms do."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

from posttrain.bench import figures
from posttrain.bench.edit.planted import GAMMAS, LANGUAGES
from posttrain.bench.figures import INK

COLORS = {"English": "#6b7280", "language 1": "#1f6fb2", "unseen language": "#d1802c"}
MARKERS = {"English": "s", "language 1": "o", "unseen language": "^"}
ARMS = (
    "none", "scale x3", "random units", "all units", "gamma 0", "gamma 1", "gamma 1, English held", "gamma 1, rank 1",
    "gamma 10000",
)  # fmt: skip
TITLES = {"attack": "harmful prompts that are answered", "false refusal": "harmless prompts that are refused"}


def picture(result: dict[str, Any], path: Path) -> Path:
    """Draw a result; whole or not there."""
    pyplot = figures.pyplot()
    figure, axes = pyplot.subplots(
        2, 2, figsize=(11.5, 6.4), layout="constrained", sharey=True, gridspec_kw={"width_ratios": (1, 1.15)}
    )
    for row, measure in zip(axes, TITLES, strict=True):
        _window(row[0], result["arms"], measure)
        _arms(row[1], result["arms"], measure)
        for axis in row:
            axis.set_ylim(-0.03, 1.03)
            figures.frame(axis)
    axes[1, 0].legend(frameon=False, loc="center right", fontsize=9)
    axes[1, 0].set_xlabel("gamma, in units of N_h / N_s", color=INK)
    for axis in axes[0]:
        axis.set_xticklabels([])
    figure.suptitle(
        f"A planted layer: 24 of 128 units refuse, and hear harm in English alone. n = {result['n']} seeds, 95 %",
        x=0.01, ha="left", fontsize=11, color=INK,
    )  # fmt: skip
    return figures.saved(figure, path)


def _window(axis: Any, arms: dict[str, Any], measure: str) -> None:
    places = range(len(GAMMAS))
    for language in LANGUAGES:
        cells = [arms[f"gamma {gamma:g}"]["measured"][f"{measure}, {language}"] for gamma in GAMMAS]
        color = COLORS[language]
        axis.plot(places, [cell["mean"] for cell in cells], color=color, marker=MARKERS[language], label=language)
        axis.fill_between(
            places, [cell["low"] for cell in cells], [cell["high"] for cell in cells], color=color, alpha=0.15, lw=0
        )
    axis.set_xticks(places, [f"{gamma:g}" for gamma in GAMMAS])
    axis.set_title(f"{TITLES[measure]}, by gamma", color=INK, loc="left", fontsize=10.5, fontweight="bold")


def _arms(axis: Any, arms: dict[str, Any], measure: str) -> None:
    width = 0.26
    for number, language in enumerate(LANGUAGES):
        cells = [arms[arm]["measured"][f"{measure}, {language}"] for arm in ARMS]
        places = [at + width * (number - 1) for at in range(len(ARMS))]
        axis.bar(places, [cell["mean"] for cell in cells], width * 0.92, color=COLORS[language], label=language)
        axis.vlines(places, [c["low"] for c in cells], [c["high"] for c in cells], color=INK, linewidth=0.8)
    axis.set_xticks(range(len(ARMS)), [fill(arm.replace(",", ""), 8) for arm in ARMS], fontsize=8.5)
    axis.set_title(f"{TITLES[measure]}, by arm", color=INK, loc="left", fontsize=10.5, fontweight="bold")
