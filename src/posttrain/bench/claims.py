"""The papers' claims, what can be tested of them here, and what was measured last.

`posttrain claims` runs the experiments (a killed one goes on), writes `results/<experiment>.json` and `.png`, and
renders `docs/claims.md` from these files. The page holds nothing that a command did not write.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.bench.compare import CompareConfig
from posttrain.files import write_whole

ANNEALED = "kdrl:beta=0.2,anneal_to=0.002,anneal_per_step=0.005"
SWEEP = ("kdrl:beta=0.002", "kdrl:beta=0.02", "kdrl:beta=0.2", ANNEALED)
LITERAL = "rlad:clamp_gradient=literal"

EXPERIMENTS: dict[str, tuple[str, CompareConfig]] = {
    "rlad-good-teacher": (
        "RLAD with a good teacher",
        CompareConfig(
            arms=("grpo", "rlad", LITERAL, "rlad:alpha=0.3", "rlad:alpha=0.7", *SWEEP, "opd"), seeds=10, first_seed=10
        ),
    ),
    "rlad-wrong-teacher": (
        "RLAD with a teacher that is confidently wrong on a quarter of the prompts",
        CompareConfig(arms=("grpo", "rlad", *SWEEP, "opd"), seeds=10, first_seed=10, noise=0.25),
    ),
}
"""Name of the result files to the picture's title and the comparison."""


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
    measured: Callable[[dict[str, Any]], str]
    """The cell, from the result file."""


def gain(label: str, measure: str = "auc") -> Callable[[dict[str, Any]], str]:
    """Paired difference of an arm to GRPO."""

    def cell(result: dict[str, Any]) -> str:
        gap = result["arms"][label][f"{measure}_minus_first"]
        holds = "holds" if gap["low"] > 0 else ("does not hold" if gap["high"] < 0 else "undecided")
        return f"**{holds}**: {_gap(gap)}, larger on {gap['wins']} of {gap['n']} seeds"

    return cell


def versus(first: str, others: tuple[str, ...], measure: str = "final") -> Callable[[dict[str, Any]], str]:
    """One arm against several: means, and the paired difference to the best of them."""

    def cell(result: dict[str, Any]) -> str:
        from posttrain import stats

        arms = result["arms"]
        best = max(others, key=lambda label: arms[label][measure]["mean"])
        gap = stats.paired(arms[first][f"{measure}_by_seed"], arms[best][f"{measure}_by_seed"])
        value = {**gap.difference._asdict()}
        holds = "holds" if value["low"] > 0 else ("does not hold" if value["high"] < 0 else "undecided")
        table = ", ".join(f"{label} {arms[label][measure]['mean']:.3f}" for label in (first, *others))
        return f"**{holds}** against `{best}`: {_gap(value)}, larger on {gap.wins} of {value['n']} seeds ({table})"

    return cell


def _gap(value: dict[str, Any]) -> str:
    return f"{value['mean']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"


CLAIMS = (
    Claim(
        "RLAD", "RLAD learns more than GRPO: 0.94 against 0.76 (Knights & Knaves, Qwen3-0.6B, 8K)",
        "area under the held-out greedy accuracy curve, paired by seed", "rlad-good-teacher", gain("rlad"),
    ),
    Claim(
        "RLAD", "the same", "mean success of the sampled completions during training, paired by seed",
        "rlad-good-teacher", gain("rlad", "sampled_auc"),
    ),
    Claim(
        "RLAD", "RLAD ends above KDRL: 0.94 against 0.92",
        "final held-out accuracy against the best beta of a sweep, chosen on the same seeds", "rlad-good-teacher",
        versus("rlad", SWEEP),
    ),
    Claim(
        "RLAD", "the same", "success during training against KDRL's best beta and OPD", "rlad-good-teacher",
        versus("rlad", (*SWEEP, "opd"), "sampled_auc"),
    ),
    Claim(
        "RLAD", "alpha between 0.3 and 0.7 is best (GSM8K, MATH)", "final accuracy of alpha 0.5 against 0.3 and 0.7",
        "rlad-good-teacher", versus("rlad", ("rlad:alpha=0.3", "rlad:alpha=0.7")),
    ),
    Claim(
        "RLAD", "(ours, not the paper's) the gradient should pass through the clamp",
        "area, pass-through against the literal form", "rlad-good-teacher", versus("rlad", (LITERAL,), "auc"),
    ),
    Claim(
        "RLAD", "the reward decides, so an imperfect teacher does no harm",
        "success during training over GRPO, teacher wrong on 25 %", "rlad-wrong-teacher", gain("rlad", "sampled_auc"),
    ),
    Claim(
        "RLAD", "the same", "final accuracy against GRPO, KDRL and OPD, teacher wrong on 25 %", "rlad-wrong-teacher",
        versus("rlad", ("grpo", *SWEEP, "opd")),
    ),
)  # fmt: skip

NOT_HERE = (
    "RLAD's tables at Qwen3-0.6B to 8B on Knights & Knaves, AIME, AMC and MATH: not reproducible without those models "
    "and 8 to 64 GPUs; `recipes/` has the settings.",
)


def render(results: Path, page: Path) -> Path:
    """Write the page of claims from the result files that are there."""
    found = {name: _load(results / f"{name}.json") for name in EXPERIMENTS}
    lines = [
        "# Does the claim hold?", "",
        "Written by `make claims` from `results/`. Tiny models trained here, on two cores; hyper-parameters were tuned",
        "on seeds 0 to 2, and what is reported comes from seeds 10 and up. A difference is paired by seed, with its",
        "95 % bootstrap interval. *Undecided* means that the interval contains 0. Success: right answers among the",
        "completions sampled while training; area: mean over training of the greedy held-out accuracy.", "",
        "| method | the paper says | tested here | measured |", "|---|---|---|---|",
    ]  # fmt: skip
    for claim in CLAIMS:
        result = found[claim.experiment]
        cell = claim.measured(result) if result else "not measured yet"
        lines.append(f"| {claim.method} | {claim.paper} | {claim.test} | {cell} |")
    lines += ["", *(f"- {sentence}" for sentence in NOT_HERE)]
    for name, (title, _) in EXPERIMENTS.items():
        if result := found[name]:
            lines += ["", f"## {title}", "", *_section(name, result)]
    return write_whole(page, "\n".join(lines) + "\n")


def _load(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _section(name: str, result: dict[str, Any]) -> list[str]:
    """One experiment: setting, picture and table."""
    config = result["config"]
    setting = (
        f"{config['task']}, {config['steps']} optimiser steps, {config['prompts']} prompts of {config['group_size']} "
        f"completions, {config['inner_steps']} steps per generation, learning rate {config['learning_rate']:g}, seeds "
        f"{result['seeds'][0]} to {result['seeds'][-1]} (n={result['n']}), commit {result['commit']}, "
        f"{result['date']}, {result['machine']}."
    )
    groups = list(result["arms"][result["first"]]["final_by_group"])
    columns = ("success", "gain over grpo", "area, greedy", "gain over grpo", "final", *groups, "KL to teacher",
               "veto A>0 / A<0", "tokens", "seconds")  # fmt: skip
    rows = [f"| arm | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label, arm in result["arms"].items():
        vetoes = " / ".join(
            "-" if v is None else f"{100 * v:.0f} %" for v in (arm["veto_positive"], arm["veto_negative"])
        )
        other = label != result["first"]
        cells = (
            f"{arm['sampled_auc']['mean']:.3f}", _gap(arm["sampled_auc_minus_first"]) if other else "",
            f"{arm['auc']['mean']:.3f}", _gap(arm["auc_minus_first"]) if other else "", _value(arm["final"]),
            *(f"{arm['final_by_group'][group]['mean']:.3f}" for group in groups),
            f"{arm['final_teacher_kl']['mean']:.3f}", vetoes, f"{arm['tokens'] / 1000:.0f}k", f"{arm['seconds']:.0f}",
        )  # fmt: skip
        rows.append(f"| `{label}` | {' | '.join(cells)} |")
    return [setting, "", f"![{name}](../results/{name}.png)", "", *rows]


def _value(value: dict[str, Any]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
