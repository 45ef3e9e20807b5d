"""One layer's edit: which columns, and what a solution does to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posttrain.edit.change import Change, Measured
from posttrain.edit.inputs import Inputs
from posttrain.edit.ridge import Solution
from posttrain.projections import Projection

Pick = Callable[[Inputs, Tensor], Tensor]
"""From a layer's inputs and a projection's weight, (units, d), to units, (m,)."""
Solve = Callable[[Inputs, Sequence[Tensor], float, float], list[Solution]]
"""From a layer's inputs, sets of columns, gamma and ridge to the best changes."""


class Target(NamedTuple):
    """What is edited of a projection."""

    projection: Projection
    units: Tensor
    """S, (m,)."""
    columns: Tensor
    """W_S, (d, m), float64."""


def width(model: Any, by_layer: dict[int, list[Projection]]) -> int:
    """Inputs of a projection, d."""
    return model.get_submodule(next(iter(by_layer.values()))[0].module).weight.shape[1]


def targets(model: Any, inputs: Inputs, found: Sequence[Projection], pick: Pick) -> list[Target]:
    """What to edit in one layer; a projection in which no unit is picked is left out."""
    aimed = []
    for projection in found:
        weight = projection.weight(model)
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"The weight of {projection.module} is not finite; get the model again.")
        units = pick(inputs, weight)
        if len(units):
            aimed.append(Target(projection, units, weight[units].T.to("cpu", torch.float64)))
    return aimed


def measured(inputs: Inputs, target: Target, solution: Solution, gamma: float, rank: int) -> Change:
    """A solution at one rank, with what it does to the anchors that it was solved on."""
    kept = min(rank, len(solution.energy))
    left, right = solution.full @ solution.right[:, :kept], solution.right[:, :kept]
    curve, delta = inputs.curve(solution, target.columns), left @ right.T
    rises = [float(inputs.rise(columns).sum()) for columns in (target.columns, target.columns + delta)]
    return Change(
        target.projection,
        target.units,
        left,
        right,
        solution.energy,
        Measured(
            gamma=gamma,
            rank=kept,
            gap=math.sqrt(max(float(curve.remaining[0]), 0.0)),
            remaining=curve.left(kept),
            leakage=curve.leak(kept),
            leakage_by_language=inputs.leaks(delta, target.columns),
            drift=curve.drift(kept),
            size=float(delta.norm() / target.columns.norm()),
            english=rises[1] / rises[0] if rises[0] else 1.0,
        ),
    )
