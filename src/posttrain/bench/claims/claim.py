"""What a claim is, and the cells that say whether it holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from posttrain import stats
from posttrain.bench.compare import CompareConfig
from posttrain.bench.trials import rows_and_asides

Cell = Callable[[dict[str, Any]], str]
"""From a result file to what the page says."""


class Experiment(NamedTuple):
    """What is run for some claims: a comparison of recipes, or a bench of its own."""

    title: str
    """Of the picture."""
    config: CompareConfig | None = None
    """What is compared."""
    bench: tuple[str, ...] = ()
    """In place of it, the arguments of `posttrain bench`."""
    section: Callable[[dict[str, Any]], list[str]] | None = None
    """Of a bench: what the page says about its result, as lines of Markdown."""


@dataclass(frozen=True)
class Claim:
    """One line of the table."""

    method: str
    """As in the catalog."""
    paper: str
    """What the paper says, with its number."""
    test: str
    """What is tested here."""
    experiment: str
    """A key of `EXPERIMENTS`."""
    measured: Cell
    """The cell, from the result file."""


def made(result: dict[str, Any]) -> str:
    """Where and when a bench's result comes from."""
    return "commit {commit}, {date}, {machine}".format(**result["provenance"])


def by_seeds(
    result: dict[str, Any], name: str, said: str, columns: Sequence[str], number: Callable[[float], str], aside: str
) -> list[str]:
    """A bench of arms by seeds: setting, picture, table, and what is no row of it.

    Args:
        result: See `posttrain.bench.trials.summary`.
        name: Of the result files.
        said: The setting, whole sentences.
        columns: Measures.
        number: How one is written in the table.
        aside: The format of numbers beside it.
    """
    lines = [
        f"{said} Seeds {result['seeds'][0]} to {result['seeds'][-1]} (n={result['n']}), {made(result)}.", "",
        f"![{name}](../results/{name}.png)", "",
        "| arm | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|",
    ]  # fmt: skip
    rows, asides = rows_and_asides(result, columns)
    for arm, cells in rows.items():
        shown = [f"{number(c['mean'])} [{number(c['low'])}, {number(c['high'])}]" for c in cells.values()]
        lines.append(f"| {arm} | " + " | ".join(shown) + " |")
    if asides:
        lines.append("")
    for arm, cells in asides.items():
        lines.append(f"{arm}: " + ", ".join(f"{what} {cell['mean']:{aside}}" for what, cell in cells.items()) + ".")
    return lines


def gain(label: str, measure: str = "auc") -> Cell:
    """Paired difference of an arm to the first."""

    def cell(result: dict[str, Any]) -> str:
        return verdict(result["arms"][label][f"{measure}_minus_first"])

    return cell


def versus(first: str, others: tuple[str, ...], measure: str = "final") -> Cell:
    """One arm against several: means, and the paired difference to the best of them."""

    def cell(result: dict[str, Any]) -> str:
        arms = result["arms"]
        best = max(others, key=lambda label: arms[label][measure]["mean"])
        gap = stats.paired(arms[first][f"{measure}_by_seed"], arms[best][f"{measure}_by_seed"])
        table = ", ".join(f"{label} {arms[label][measure]['mean']:.3f}" for label in (first, *others))
        said = verdict({**gap.difference._asdict(), "wins": gap.wins}, f" against `{best}`")
        return f"{said} ({table})"

    return cell


def larger(name: str, first: str, second: str, digits: int = 3) -> Cell:
    """Whether a measure at the end is larger in one arm than in another."""

    def cell(result: dict[str, Any]) -> str:
        a, b = (values(result, label, name) for label in (first, second))
        gap = stats.paired(a, b)
        said = verdict({**gap.difference._asdict(), "wins": gap.wins}, digits=digits)
        return f"{said} ({fmean(a):.{digits}f} against {fmean(b):.{digits}f})"

    return cell


def ordered(name: str, labels: Sequence[str]) -> Cell:
    """Whether the means of a measure rise along the arms, and between which neighbours the interval says so."""

    def cell(result: dict[str, Any]) -> str:
        found = [values(result, label, name) for label in labels]
        gaps = [stats.paired(after, before).difference for before, after in itertools.pairwise(found)]
        holds = "holds" if all(gap.low > 0 for gap in gaps) else "undecided"
        if any(gap.high < 0 for gap in gaps):
            holds = "does not hold"
        means = " < ".join(f"`{label}` {fmean(v):.3f}" for label, v in zip(labels, found, strict=True))
        return f"**{holds}**: claimed {means}; steps {', '.join(interval(gap._asdict()) for gap in gaps)}"

    return cell


def equal(name: str, first: str, second: str, within: float) -> Cell:
    """Whether two arms differ by no more than `within`: the interval of their difference lies inside it."""

    def cell(result: dict[str, Any]) -> str:
        gap = stats.paired(values(result, first, name), values(result, second, name)).difference
        inside = max(abs(gap.low), abs(gap.high)) <= within
        outside = gap.low > within or gap.high < -within
        holds = "holds" if inside else "does not hold" if outside else "undecided"
        return f"**{holds}**, within {within:g}: {interval(gap._asdict())}"

    return cell


def tabled(names: Sequence[str], labels: Sequence[str]) -> Cell:
    """Measures of several arms, without a verdict."""

    def cell(result: dict[str, Any]) -> str:
        parts = []
        for label in labels:
            found = [f"{name} {fmean(values(result, label, name)):.3f}" for name in names]
            parts.append(f"`{label}`: {', '.join(found)}")
        return "; ".join(parts)

    return cell


CURVES = {"success": "sampled_auc_by_seed", "area": "auc_by_seed", "final": "final_by_seed"}
"""What every comparison has: success while training, area under the evaluations, the last of them."""


def values(result: dict[str, Any], label: str, name: str) -> list[float]:
    """One of `CURVES`, or a measure at the end, by seed."""
    arm = result["arms"][label]
    return arm[CURVES[name]] if name in CURVES else arm["measured"][name]["by_seed"]


def verdict(gap: dict[str, Any], against: str = "", digits: int = 3) -> str:
    """Holds, does not hold or undecided, with the interval and the seeds."""
    holds = "holds" if gap["low"] > 0 else ("does not hold" if gap["high"] < 0 else "undecided")
    return f"**{holds}**{against}: {interval(gap, digits)}, larger on {gap['wins']} of {gap['n']} seeds"


def interval(value: dict[str, Any], digits: int = 3) -> str:
    """A difference with its interval."""
    return f"{value['mean']:+.{digits}f} [{value['low']:+.{digits}f}, {value['high']:+.{digits}f}]"
