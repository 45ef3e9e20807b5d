"""Value-only tuning's claims: in closed form, in trained linear attention, and in a small softmax transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

from posttrain.bench.claims.claim import (
    Cell,
    Claim,
    Experiment,
    by_seeds,
    equal,
    interval,
    larger,
    made,
    ordered,
    values,
)
from posttrain.bench.value_only.report import number
from posttrain.stats import bootstrap, paired

METHOD = "Value-only tuning"
LINEAR, SOFTMAX, BARE = "value-only-linear", "value-only-softmax", "value-only-softmax-no-start"
RANDOM = "random, 10 shots"


def section(name: str, columns: tuple[str, ...]) -> Callable[[dict[str, Any]], list[str]]:
    """Setting, picture and table of a trained world."""
    return lambda result: by_seeds(result, name, result["says"].partition(" Means over")[0], columns, number, ".3f")


def theory_section(result: dict[str, Any]) -> list[str]:
    """The curves at some numbers of examples."""
    shown = (0, 1, 5, 20)
    titles = [f"{task}, {n} shots" for task in ("theta_0", "-theta_0") for n in shown]
    rows = [
        f"Closed forms, d = 5, noise 0.1, and {result['samples']:,} runs of the model at each of "
        f"{len(result['sampled_at'])} numbers of examples, {made(result)}. The two differ by {result['worst']:.2%} at "
        "most.", "",
        "![value-only-theory](../results/value-only-theory.png)", "",
        "| model | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|",
    ]  # fmt: skip
    for name, curves in result["curves"].items():
        cells = [f"{curves[task]['exact'][n]:.3f}" for task in ("target", "opposite") for n in shown]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def closed_forms(result: dict[str, Any]) -> str:
    """Whether the forms are what the model does, and the named numbers."""
    said = "holds" if result["worst"] <= 0.01 else "does not hold"
    named = "; ".join(f"{what} {value:.4g}" for what, value in result["numbers"].items())
    return f"**{said}**, within {result['worst']:.2%}: {named}"


def rises(arm: str, before: str, after: str) -> Cell:
    """Whether an arm's measure is larger than another of its own."""

    def cell(result: dict[str, Any]) -> str:
        gap = paired(values(result, arm, after), values(result, arm, before))
        said = "holds" if gap.difference.low > 0 else "does not hold" if gap.difference.high < 0 else "undecided"
        means = " to ".join(f"{fmean(values(result, arm, name)):.3f}" for name in (before, after))
        return f"**{said}**: {means}, {interval(gap.difference._asdict())}"

    return cell


def agree(*pairs: tuple[str, str], within: float) -> Cell:
    """Whether what training found is what the closed forms say, on average."""

    def cell(result: dict[str, Any]) -> str:
        cells = result["arms"]["theory"]["measured"]
        gaps = [abs(cells[a]["mean"] - cells[b]["mean"]) for a, b in pairs]
        said = ", ".join(f"{a} {cells[a]['mean']:.3f}, {b} {cells[b]['mean']:.3f}" for a, b in pairs)
        return f"**{'holds' if max(gaps) <= within else 'does not hold'}**, within {within:g}: {said}"

    return cell


def times(measure: str, *arms: str, of: str = "none") -> Cell:
    """How many times the error of another arm (geometric mean over seeds), without a verdict."""

    def cell(result: dict[str, Any]) -> str:
        parts = []
        for arm in arms:
            pairs = zip(values(result, arm, measure), values(result, of, measure), strict=True)
            mean, low, high, _ = bootstrap([math.log(a / b) for a, b in pairs])
            parts.append(f"`{arm}` {math.exp(mean):.1f} [{math.exp(low):.1f}, {math.exp(high):.1f}]")
        return "; ".join(parts)

    return cell


SHOWN = ("target, 0 shots", "target, 20 shots", "opposite, 0 shots", "opposite, 20 shots", "random, 20 shots")
SOFT = ("target, 0 shots", "target, 10 shots", RANDOM, "opposite, 10 shots", f"matched: {RANDOM}",
        "matched: opposite, 10 shots", "steps", "learnt", "moved")  # fmt: skip

EXPERIMENTS = {
    "value-only-theory": Experiment(
        "Value-only tuning: linear attention in closed form",
        bench=("value-only", "--world", "theory"),
        section=theory_section,
    ),
    LINEAR: Experiment(
        "Value-only tuning: linear attention, trained",
        bench=("value-only", "--world", "linear"),
        section=section(LINEAR, SHOWN),
    ),
    SOFTMAX: Experiment(
        "Value-only tuning: a small softmax transformer",
        bench=("value-only", "--world", "softmax"),
        section=section(SOFTMAX, SOFT),
    ),
    BARE: Experiment(
        "Value-only tuning: the same without a start token, where queries and keys cannot learn without examples",
        bench=("value-only", "--world", "softmax", "--no-start-token"),
        section=section(BARE, SOFT),
    ),
}

CLAIMS = (
    Claim(
        METHOD, "theorems on linear attention (2.4375 examples; asymptote 1; a value of 3.1 where .322 is right)",
        "closed forms against runs of the model; the numbers by our formulas", "value-only-theory", closed_forms,
    ),
    Claim(
        METHOD, "tuning all weights on a task makes examples of it harmful",
        "linear: risk on the task after 20 examples over that without", LINEAR,
        rises("ZS (all)", "target, 0 shots", "target, 20 shots"),
    ),
    Claim(
        METHOD, "without examples all weights learn the task best, then values, then queries and keys",
        "linear: risk on the task without examples", LINEAR,
        ordered("target, 0 shots", ("ZS (all)", "ZS (V)", "ZS (Q)", "pretrained")),
    ),
    Claim(
        METHOD, "after 20 examples values alone are better than all weights and than queries and keys",
        "linear: risk on the task after 20 examples", LINEAR,
        ordered("target, 20 shots", ("ZS+FS (all)", "ZS+FS (V)", "ZS (V)", "ZS (all)", "ZS (Q)")),
    ),
    Claim(
        METHOD, "values alone keep context learning", "linear: the same, against the pretrained model", LINEAR,
        equal("target, 20 shots", "ZS (V)", "pretrained", 0.03),
    ),
    Claim(
        METHOD, "the few-shot loss helps on the task and costs elsewhere",
        "linear: risk on the opposite task after 20 examples", LINEAR,
        ordered("opposite, 20 shots", ("pretrained", "ZS (V)", "ZS+FS (V)", "ZS (all)", "ZS+FS (all)")),
    ),
    Claim(
        METHOD, "(by our formulas) what training should find", "linear: a after pretraining, w after ZS+FS (V)", LINEAR,
        agree(("a, trained", "a, in theory"), ("w, trained", "w, in theory"), within=0.02),
    ),
    Claim(
        METHOD, "the linear theory carries over (one LLM, one data set, called illustrative)",
        "softmax: error on random tasks at ten shots, all over values, as many trained numbers", SOFTMAX,
        larger(RANDOM, "all", "v"),
    ),
    Claim(
        METHOD, "(the same)", "softmax: the same when both have just learnt the task", SOFTMAX,
        larger(f"matched: {RANDOM}", "all", "v"),
    ),
    Claim(
        METHOD, "(the same)", "softmax without a start token: all over values", BARE, larger(RANDOM, "all", "v"),
    ),
    Claim(
        METHOD, "(the same)", "softmax without a start token: the same when both have just learnt the task", BARE,
        larger(f"matched: {RANDOM}", "all", "v"),
    ),
    Claim(
        METHOD, "values alone keep context learning",
        "softmax: error on random tasks at ten shots, as multiples of the pretrained model's", SOFTMAX,
        times(RANDOM, "v", "all", "v, o", "v + few-shot", "all + few-shot", "v + rehearsal", "all + rehearsal"),
    ),
    Claim(
        METHOD, "the few-shot loss helps on the task and costs elsewhere",
        "softmax: error on random tasks at ten shots, values with it over values without", SOFTMAX,
        larger(RANDOM, "v + few-shot", "v"),
    ),
    Claim(
        METHOD, "with the few-shot loss too, values alone keep more than all weights",
        "softmax: error on random tasks at ten shots, all over values, both with it", SOFTMAX,
        larger(RANDOM, "all + few-shot", "v + few-shot"),
    ),
    Claim(
        METHOD, "(the same)", "softmax without a start token: the same", BARE,
        larger(RANDOM, "all + few-shot", "v + few-shot"),
    ),
    Claim(
        METHOD, "(not in the paper) rehearsal of the old tasks", "softmax: values alone over all with rehearsal",
        SOFTMAX, larger(RANDOM, "v", "all + rehearsal"),
    ),
)  # fmt: skip

NOT_HERE = (
    "Value-only tuning of Qwen2.5-3B-Instruct on MMLU: not reproducible without the model and its rationales;"
    " `recipes/` has the settings.",
)
