"""One projection of one layer: some outputs of a linear module, named and read in the same way in every model.

A model may hold q, k and v in modules of their own or as slices of one (fused); GPT-2 stores the weight as (in, out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Part = Literal["q", "k", "v", "o", "gate", "up"]


@dataclass(frozen=True, eq=False)
class Projection:
    """The outputs of a linear module that make up one projection of one layer."""

    layer: int
    """From 0."""
    part: Part
    """Query, key, value, output; or gate, up of the MLP."""
    module: str
    """Dotted name within the model."""
    rows: Tensor
    """(m,) int64, rising: its outputs among the module's."""
    transposed: bool
    """The weight is stored as (in, out), as GPT-2's Conv1D has it."""

    def module_of(self, model: nn.Module) -> Any:
        """The module in `model`."""
        return model.get_submodule(self.module)

    def outputs(self, model: nn.Module) -> int:
        """How many outputs the whole module has."""
        return self.module_of(model).weight.shape[1 if self.transposed else 0]

    def whole(self, model: nn.Module) -> bool:
        """Whether the module has no other outputs than these."""
        return len(self.rows) == self.outputs(model)

    def weight(self, model: nn.Module) -> Tensor:
        """Its weight, (m, d_in), a copy."""
        weight = self.module_of(model).weight.detach()
        rows = self.rows.to(weight.device)
        return weight[:, rows].T.contiguous() if self.transposed else weight[rows]

    def bias(self, model: nn.Module) -> Tensor | None:
        """Its bias, (m,), a copy; None if the module has none."""
        bias = self.module_of(model).bias
        return None if bias is None else bias.detach()[self.rows.to(bias.device)]

    def put(self, model: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
        """Write its weight (m, d_in), and its bias (m,) if given, in place; no other number of the module changes."""
        module = self.module_of(model)
        with torch.no_grad():
            rows = self.rows.to(module.weight.device)
            if self.transposed:
                module.weight[:, rows] = weight.T.to(module.weight)
            else:
                module.weight[rows] = weight.to(module.weight)
            if bias is not None:
                module.bias[rows] = bias.to(module.bias)
