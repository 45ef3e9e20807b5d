"""A change of some units of one projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from posttrain.projections import Projection


class Measured(NamedTuple):
    """What a change does to the anchors that it was solved on."""

    gamma: float
    """In units of N_h / N_s."""
    rank: int
    gap: float
    """|D|, before."""
    remaining: float
    """|X_low Delta - D| / |D|."""
    leakage: float
    """How far a harmless prompt is moved, in units of how far a harmful one should be: rms over rms."""
    leakage_by_language: dict[str, float]
    """The same for each language; empty where only sums were kept."""
    drift: float
    """|X Delta| / |X W_S| over harmless prompts."""
    size: float
    """|Delta| / |W_S|."""
    english: float
    """By how much the units rise on English harmful prompts over harmless ones, as a share of what it was."""


@dataclass(frozen=True, eq=False)
class Change:
    """Delta = left right', float64: it is added to the columns S of a projection."""

    projection: Projection
    units: Tensor
    """S, (m,) int64, rising: outputs of the projection."""
    left: Tensor
    """(d, r)."""
    right: Tensor
    """(m, r)."""
    energy: Tensor
    """Sigma^2, (m,), falling: by how much each rank lowers the objective."""
    measured: Measured

    @property
    def delta(self) -> Tensor:
        """(d, m)."""
        return self.left @ self.right.T

    @property
    def rows(self) -> Tensor:
        """S among the outputs of the module, (m,)."""
        return self.projection.rows.cpu()[self.units]
