"""The paper's figure from the closed forms, with the model run beside them: risk after 0 to 20 examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from posttrain.bench.record import provenance
from posttrain.tune import theory
from posttrain.tune.theory import Array, Data, Weights

SHOTS = 20
SAMPLED = (0, 1, 2, 3, 5, 8, 12, 16, 20)
"""Numbers of examples at which the model is run."""
SAMPLES = 1_000_000
"""Prompts for each."""
C = 0.52
"""c of the first family, as the authors draw it; gradient flow from the pretrained model ends at 0.553."""


class Curve(NamedTuple):
    """A model, and its closed form."""

    weights: Weights
    risk: Callable[[int, Array], float]
    """From examples and theta."""


def curves(theta_0: Array, data: Data) -> dict[str, Curve]:
    """The models of the figure: the authors' four, and the second exact family."""
    d, a = data.d, theory.released_a(SHOTS, data.d)
    w = theory.best_w(SHOTS, theta_0, theta_0, data)
    v = theta_0 / (d + 4)
    return {
        "pretrained": Curve(theory.pretrained(a, data), lambda n, t: theory.pretrained_risk(n, t, data, a)),
        "ZS (all)": Curve(
            theory.first_family(theta_0, C, data), lambda n, t: theory.first_family_risk(n, t, theta_0, data, C)
        ),
        "ZS (all), second family": Curve(
            theory.second_family(theta_0, C, data), lambda n, t: theory.second_family_risk(n, t, theta_0, data, C)
        ),
        "ZS (V)": Curve(
            theory.value_optimum(theta_0, data, 1.0, a), lambda n, t: theory.value_risk(n, t, v / a, 1.0, data, a)
        ),
        "ZS+FS (V)": Curve(
            theory.value_optimum(theta_0, data, w), lambda n, t: theory.value_risk(n, t, v, w, data)
        ),
    }  # fmt: skip


def measured(show: Callable[[int, int], None] | None = None, samples: int = SAMPLES) -> dict[str, Any]:
    """Closed forms and runs of the model on theta_0 and -theta_0, and the notebook's numbers.

    Args:
        show: Called after each run with its number and the number of all.
        samples: Prompts of each run.
    """
    data = theory.isotropic()
    theta_0 = np.full(data.d, data.d**-0.5)
    models = curves(theta_0, data)
    found: dict[str, Any] = {name: {} for name in models}
    for number, task in enumerate(("target", "opposite")):
        theta = theta_0 if task == "target" else -theta_0
        runs = []
        for at, n in enumerate(SAMPLED):
            seed = number * SHOTS + n
            weights = [each.weights for each in models.values()]
            runs.append(theory.monte_carlo(weights, n, theta, data, samples=samples, seed=seed))
            if show is not None:
                show(number * len(SAMPLED) + at + 1, 2 * len(SAMPLED))
        for i, (name, curve) in enumerate(models.items()):
            found[name][task] = {
                "exact": [curve.risk(n, theta) for n in range(SHOTS + 1)],
                "sampled": [run[i]._asdict() for run in runs],
            }
    return {
        "provenance": provenance(), "world": "theory", "shots": SHOTS, "sampled_at": list(SAMPLED), "samples": samples,
        "curves": found, "worst": worst(found), "numbers": numbers(theta_0, data),
    }  # fmt: skip


def worst(found: dict[str, Any]) -> float:
    """The largest deviation of a run from its closed form, as a share of it."""
    return max(
        abs(run["mean"] / task["exact"][n] - 1)
        for tasks in found.values()
        for task in tasks.values()
        for n, run in zip(SAMPLED, task["sampled"], strict=True)
    )


def numbers(theta_0: Array, data: Data) -> dict[str, float]:
    """What the authors' notebook and text name."""
    a = theory.released_a(SHOTS, data.d)
    return {
        "examples below which the pretrained model is better without": theory.shots_to_help(a, data),
        "values alone, zero-shot, on theta_0": theory.value_floor(theta_0, data),
        "best w at 20 examples of theta_0": theory.best_w(SHOTS, theta_0, theta_0, data),
        "best w at 20 examples of -theta_0": theory.best_w(SHOTS, -theta_0, theta_0, data),
        "all weights, examples without end, on theta_0": theory.first_family_limit(theta_0, data),
        "c by gradient flow": theory.flow_c(theta_0, theory.balance(theory.pretrained(a, data))),
    }
