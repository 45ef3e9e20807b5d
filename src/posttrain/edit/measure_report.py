"""What `posttrain edit measure` found, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from posttrain.bench import figures
from posttrain.bench.figures import FAINT, INK
from posttrain.bench.table import interval, table
from posttrain.edit.judges import KINDS

COLORS = {"attack": "#c44e52", "loophole": "#d08a2e", "false_refusal": "#2a7ab0", "sums": "#5b9a54"}
TITLES = {
    "attack": "attacks that succeed",
    "loophole": "of those that fail in {english}",
    "false_refusal": "harmless prompts refused",
    "sums": "MGSM solved",
}


def tables(result: dict[str, Any]) -> Iterable[Any]:
    """Rates by language."""
    if result["attacks"]:
        said = (
            "Attacks: harmful prompts with an unsafe reply. False refusals: harmless prompts that are refused. "
            f"Loopholes: of what is safe in {result['english']}, what is unsafe here. 95 %."
        )
        columns = (*(f"{kind.replace('_', ' ')}s" for kind in KINDS), "unjudged")
        out = table(f"{result['model']}, judged by {result['guard']}", said, columns, first="language")
        for language, cells in result["attacks"].items():
            out.add_row(language, *(interval(cells[kind]) for kind in KINDS), str(cells["unjudged"]))
        yield out
    if result["sums"]:
        out = table(f"MGSM: problems that {result['model']} solves", "95 %.", ("right",), first="language")
        for language, cell in result["sums"].items():
            out.add_row(language, interval(cell))
        yield out


def picture(result: dict[str, Any], path: Path) -> Path:
    """A panel for each kind of rate that was measured, a row for each language; whole or not there."""
    panels = {kind: {name: cells[kind] for name, cells in result["attacks"].items()} for kind in KINDS}
    panels = {kind: rows for kind, rows in {**panels, "sums": result["sums"]}.items() if any(rows.values())}
    languages = list(dict.fromkeys(name for rows in panels.values() for name in rows))
    pyplot = figures.pyplot()
    figure, axes = pyplot.subplots(
        1, max(len(panels), 1), figsize=(1.2 + 2.7 * max(len(panels), 1), 1.5 + 0.26 * len(languages)),
        layout="constrained", sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, (kind, rows) in zip(axes[0], panels.items(), strict=False):
        for place, language in enumerate(languages):
            if cell := rows.get(language):
                figures.across(axis, place, cell, COLORS[kind])
        axis.set_xlim(0, 1)
        axis.set_title(TITLES[kind].format(**result), color=INK, loc="left", fontsize=9.5, fontweight="bold")
        figures.frame(axis, "both")
    axes[0, 0].set_yticks(range(len(languages)), languages)
    axes[0, 0].invert_yaxis()
    figure.suptitle(f"{result['model']}; shares, 95 %", x=0.01, ha="left", fontsize=10, color=FAINT)
    return figures.saved(figure, path)
