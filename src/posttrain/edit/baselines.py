"""What an edit is compared with: scaled units, random units, all units, no utility term, and a hard projector.

The hard projector is AlphaEdit's idea (Fang et al. 2025, arXiv:2410.02355) on this problem: the change lies where
harmless prompts have no energy. Its threshold is a share of their energy; AlphaEdit's own, 0.02 in the units of the
activations, means something else in every model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from posttrain.edit.inputs import Inputs
from posttrain.edit.layer import Pick, Solve
from posttrain.edit.ridge import Solution, Weights, weakest
from posttrain.edit.safety import Edit, SafetyEdit
from posttrain.edit.units import UnitRule


class Arm(NamedTuple):
    """An edit to compare with; arguments of `edit_safety`."""

    config: SafetyEdit
    pick: Pick | None = None
    solve: Solve | None = None


def arms(config: SafetyEdit, seed: int = 0) -> dict[str, Arm]:
    """The edit and what it is compared with, all without the check on English.

    Args:
        config: Of the edit, with its layers named.
        seed: Of the random units.
    """
    config = replace(config, keep_rise=0.0, keep_probe=0.0)
    return {
        "edit": Arm(config),
        "gamma 0": Arm(replace(config, gammas=(0.0,))),
        "random units": Arm(config, random_units(config.units, seed)),
        "all units": Arm(config, all_units),
        "hard projector": Arm(config, None, hard()),
    }


def random_units(rule: UnitRule, seed: int = 0) -> Pick:
    """As many units as a rule takes, drawn."""
    draw = torch.Generator().manual_seed(seed)

    def pick(inputs: Inputs, weight: Tensor) -> Tensor:
        many = len(inputs.units(weight, rule).chosen)
        return torch.randperm(len(weight), generator=draw)[:many].sort().values

    return pick


def all_units(inputs: Inputs, weight: Tensor) -> Tensor:
    """Every unit: the edit without its sparsity."""
    return torch.arange(len(weight))


def hard(energy: float = 0.01) -> Solve:
    """A solver whose change harmless prompts cannot see.

    Args:
        energy: The share of their energy that may be left in sight.
    """

    def solve(inputs: Inputs, columns: Sequence[Tensor], gamma: float, ridge: float) -> list[Solution]:
        sums = inputs.sums()
        free = weakest(sums.safe, energy)
        inside = free.T @ sums.low @ free
        weight = ridge * float(inside.trace()) / max(len(inside), 1)
        inside.diagonal().add_(weight)
        found = []
        for each in columns:
            side = sums.cross @ each
            full = free @ torch.linalg.solve(inside, free.T @ side)
            values, right = torch.linalg.eigh((side.T @ full + full.T @ side) / 2)
            gap = float((each * (sums.shift @ each)).sum())
            found.append(Solution(full, right.flip(1), values.flip(0).clamp(min=0), gap, Weights(math.inf, weight)))
        return found

    return solve


@contextmanager
def scaled(model: Any, edit: Edit, alpha: float) -> Iterator[None]:
    """A model whose units are multiplied while it runs (Eq. 1); the weights stay.

    Args:
        model: Any that has the projections of the edit.
        edit: Whose units.
        alpha: Above 1 to strengthen them.
    """

    def hook(rows: Tensor) -> Callable[..., Tensor]:
        def multiply(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            factor = output.new_ones(output.shape[-1])
            factor[rows.to(output.device)] = alpha
            return output * factor

        return multiply

    with ExitStack() as hooks:
        for change in edit.changes:
            module = model.get_submodule(change.projection.module)
            hooks.callback(module.register_forward_hook(hook(change.rows)).remove)
        yield
