"""The page of claims, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.bench import report
from posttrain.bench.claims.claim import Claim, Experiment, interval
from posttrain.files import write_whole


def render(
    experiments: Mapping[str, Experiment], claims: Sequence[Claim], not_here: Sequence[str], results: Path, page: Path
) -> Path:
    """Write the page of claims from the result files that are there."""
    found = {name: _load(results / f"{name}.json") for name in experiments}
    lines = [
        "# Does the claim hold?", "",
        "Written by `make claims` from `results/`. Tiny models trained here, on two cores; hyper-parameters were tuned",
        "on seeds 0 to 2, and what is reported comes from seeds 10 and up. A difference is paired by seed, with its",
        "95 % bootstrap interval. *Undecided* means that the interval contains 0. Success: right answers among the",
        "completions sampled while training; area: mean over training of the greedy accuracy on evaluation prompts,",
        "which are held out, except for three-numbers, which has too few, as in its paper, and for coins, which lie",
        "where they lay in training. In worlds it is the success at temperature 0.4.", "",
        "| method | the paper says | tested here | measured |", "|---|---|---|---|",
    ]  # fmt: skip
    for claim in claims:
        result = found[claim.experiment]
        cell = claim.measured(result) if result else "not measured yet"
        lines.append(f"| {claim.method} | {claim.paper} | {claim.test} | {_escaped(cell)} |")
    lines += ["", *(f"- {sentence}" for sentence in not_here)]
    for name, experiment in experiments.items():
        if result := found[name]:
            said = _section(name, result) if experiment.section is None else experiment.section(result)
            lines += ["", f"## {experiment.title}", "", *said]
    return write_whole(page, "\n".join(lines) + "\n")


def _load(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _escaped(cell: str) -> str:
    """A cell whose bars do not end it."""
    return cell.replace("|", "\\|")


def _section(name: str, result: dict[str, Any]) -> list[str]:
    """One comparison: setting, picture and tables."""
    config = result["config"]
    passes = f"{config['inner_steps']} x {config['slices']}" if config.get("slices", 1) > 1 else config["inner_steps"]
    setting = (
        f"{config['task']}, {config['steps']} optimiser steps, {config['prompts']} prompts of {config['group_size']} "
        f"completions, {passes} steps per generation, learning rate {config['learning_rate']:g}, seeds "
        f"{result['seeds'][0]} to {result['seeds'][-1]} (n={result['n']}), commit {result['commit']}, "
        f"{result['date']}, {result['machine']}."
    )
    groups = list(result["arms"][result["first"]]["final_by_group"])
    has_teacher = "final_teacher_kl" in result["arms"][result["first"]]
    gained = f"gain over {_short(result['first'])}"
    columns = ("success", gained, "area, greedy", gained, "final", *groups, *(["KL to teacher"] * has_teacher),
               "veto A>0 / A<0", "tokens", "seconds")  # fmt: skip
    rows = [_row("arm", columns), "|---" * (len(columns) + 1) + "|"]
    for label, arm in result["arms"].items():
        vetoes = " / ".join(
            "-" if v is None else f"{100 * v:.0f} %" for v in (arm["veto_positive"], arm["veto_negative"])
        )
        other = label != result["first"]
        cells = (
            f"{arm['sampled_auc']['mean']:.3f}", interval(arm["sampled_auc_minus_first"]) if other else "",
            f"{arm['auc']['mean']:.3f}", interval(arm["auc_minus_first"]) if other else "", _value(arm["final"]),
            *(f"{arm['final_by_group'][group]['mean']:.3f}" for group in groups),
            *([f"{arm['final_teacher_kl']['mean']:.3f}"] if has_teacher else []),
            vetoes, f"{arm['tokens'] / 1000:.0f}k", f"{arm['seconds']:.0f}",
        )  # fmt: skip
        rows.append(_row(f"`{label}`", cells))
    return [setting, "", f"![{name}](../results/{name}.png)", "", *rows, *_measured(result)]


def _measured(result: dict[str, Any]) -> list[str]:
    """What was measured at the end, one row per arm."""
    names = report.measures(result)
    if not names:
        return []
    rows = ["", "Measured at the end, on evaluation prompts:", "", _row("arm", names), "|---" * (len(names) + 1) + "|"]
    for label, arm in result["arms"].items():
        rows.append(_row(f"`{label}`", [_value(arm["measured"][n]) if n in arm["measured"] else "-" for n in names]))
    return rows


def _row(first: str, cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in (first, *cells)) + " |"


def _short(label: str) -> str:
    return label.partition(":")[0]


def _value(value: dict[str, Any]) -> str:
    digits = 1 if abs(value["mean"]) >= 10 else 3
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
