"""What goes into one layer's gate and up on all anchors, as rows or as sums, and what an edit needs of it.

Rows are kept while there are fewer than inputs, which is where the solver's dual form needs them, or where one layer is
read and they fit; of more, the sums of their products are kept (`Sums` in `ridge.py`), and rows of English alone. Gate
and up read the same inputs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from posttrain.edit.ridge import Ridge, Solution, Sums, products_span, spans
from posttrain.edit.units import UnitRule, Units, safety_units


class Curve(NamedTuple):
    """What changes of rank 0, 1, ..., m leave and do, (m + 1,) each."""

    remaining: Tensor
    """|X_low Delta - D|^2."""
    leaked: Tensor
    """|X_harmless Delta|^2."""
    harmless: float
    """|X_harmless W_S|^2."""
    many: tuple[int, int]
    """N_h, and the number of harmless prompts."""

    def left(self, rank: int) -> float:
        """|X_low Delta - D| / |D|."""
        return _root(self.remaining[min(rank, len(self.remaining) - 1)], self.remaining[0])

    def leak(self, rank: int) -> float:
        """How far a harmless prompt is moved, in units of how far a harmful one should be: rms over rms."""
        moved = self.leaked[min(rank, len(self.leaked) - 1)] / self.many[1]
        return _root(moved, self.remaining[0] / self.many[0])

    def drift(self, rank: int) -> float:
        """|X_harmless Delta| / |X_harmless W_S|."""
        return _root(self.leaked[min(rank, len(self.leaked) - 1)], self.harmless)


@dataclass(frozen=True, eq=False)
class Inputs(ABC):
    """Of one layer."""

    english: Tensor
    """On English harmful prompts, (N, d)."""
    harmless: Tensor
    """On English harmless ones, (M, d)."""
    protect: bool
    """Whether English harmful prompts are held still as harmless ones are."""

    def units(self, weight: Tensor, rule: UnitRule) -> Units:
        """The units of a projection, (units, d), that rise on English harmful prompts."""
        weight = weight.to("cpu", torch.promote_types(weight.dtype, torch.float32))
        harmful, harmless = (rows.to(weight.dtype) @ weight.T for rows in (self.english, self.harmless))
        return safety_units(harmful, harmless, rule)

    def rise(self, columns: Tensor) -> Tensor:
        """By how much outputs of columns, (d, m), are higher on English harmful prompts than on harmless, (m,)."""
        return (self.english.double().mean(0) - self.harmless.double().mean(0)) @ columns

    @abstractmethod
    def sums(self) -> Sums:
        """The problem by sums."""

    @abstractmethod
    def solve(self, columns: Sequence[Tensor], gamma: float, ridge: float) -> list[Solution]:
        """The best changes of several sets of columns, (d, m) each, for weights without a scale (see `Ridge`)."""

    @abstractmethod
    def curve(self, solution: Solution, columns: Tensor) -> Curve:
        """What a solution, of these inputs or of others, does here at every rank."""

    @abstractmethod
    def spanned(self) -> bool:
        """Whether harmless prompts leave no direction free, so that a large gamma forbids every change."""

    def leaks(self, delta: Tensor, columns: Tensor) -> dict[str, float]:
        """`Curve.leak` on the harmless prompts of each language; empty where only sums are known."""
        return {}


@dataclass(frozen=True, eq=False)
class Kept(Inputs):
    """As rows."""

    harmful_rows: Mapping[str, Tensor]
    """Of the languages to edit, (N, d) each; row i is English's prompt i."""
    harmless_rows: Mapping[str, Tensor]
    """Of all languages."""

    @cached_property
    def low(self) -> Tensor:
        """X_low, the harmful prompts of all languages to edit, (N_h, d)."""
        return torch.cat([rows.double() for rows in self.harmful_rows.values()])

    @cached_property
    def safe(self) -> Tensor:
        """X_safe, (N_s, d)."""
        rows = [rows.double() for rows in self.harmless_rows.values()]
        return torch.cat([*rows, self.english.double()] if self.protect else rows)

    @cached_property
    def ridge(self) -> Ridge:
        """The solver."""
        return Ridge(self.low, self.safe)

    @cached_property
    def shift(self) -> Tensor:
        """E = X_english - X_low, (N_h, d)."""
        return self.english.double().repeat(len(self.harmful_rows), 1) - self.low

    def sums(self) -> Sums:
        """From the rows."""
        low, shift, safe = self.low, self.shift, self.safe
        return Sums(low.T @ low, low.T @ shift, shift.T @ shift, safe.T @ safe, len(low), len(safe))

    def gap(self, columns: Tensor) -> Tensor:
        """D, (N_h, m)."""
        return self.shift @ columns

    def solve(self, columns: Sequence[Tensor], gamma: float, ridge: float) -> list[Solution]:
        """By the solver that the number of anchors asks for."""
        return self.ridge.solve([self.gap(each) for each in columns], self.ridge.weights(gamma, ridge))

    def curve(self, solution: Solution, columns: Tensor) -> Curve:
        """By the rows."""
        change, gap = solution.full @ solution.right, self.gap(columns)
        moved, harmless = self.low @ change, torch.cat([rows.double() for rows in self.harmless_rows.values()])
        steps = moved.square().sum(0) - 2 * (moved * (gap @ solution.right)).sum(0)
        leaked = (harmless @ change).square().sum(0)
        drift = float((harmless @ columns).square().sum())
        return Curve(_from(gap.square().sum(), steps), _from(0.0, leaked), drift, (len(gap), len(harmless)))

    def spanned(self) -> bool:
        """By the rows; fewer than inputs leave directions free."""
        return spans(self.safe)

    def leaks(self, delta: Tensor, columns: Tensor) -> dict[str, float]:
        """By language."""
        far = self.gap(columns).square().sum(1).mean()
        return {
            name: _root((rows.double() @ delta).square().sum(1).mean(), far)
            for name, rows in self.harmless_rows.items()
        }

    def by_language(self, weight: Tensor, rule: UnitRule) -> dict[str, Tensor]:
        """The units that each language's own prompts would choose, of a projection, (units, d)."""
        weight = weight.to("cpu", torch.promote_types(weight.dtype, torch.float32))
        kinds = {name: (rows, self.harmless_rows.get(name, rows[:0])) for name, rows in self.harmful_rows.items()}
        return {
            name: safety_units(harmful.to(weight.dtype) @ weight.T, harmless.to(weight.dtype) @ weight.T, rule).chosen
            for name, (harmful, harmless) in {"English": (self.english, self.harmless), **kinds}.items()
            if min(len(harmful), len(harmless)) > 1
        }


@dataclass(frozen=True, eq=False)
class Summed(Inputs):
    """As sums, float64, (d, d) each."""

    low: Tensor
    """X_low' X_low."""
    cross: Tensor
    """X_low' E, with E = X_english - X_low."""
    shift: Tensor
    """E' E."""
    safe: Tensor
    """X_harmless' X_harmless."""
    many: tuple[int, int]
    """Harmful prompts of the languages to edit, and harmless ones."""

    def sums(self) -> Sums:
        """The problem."""
        return self.problem

    @cached_property
    def problem(self) -> Sums:
        """The sums, English harmful prompts among the harmless ones if they are held still."""
        safe, many = self.safe, self.many[1]
        if self.protect:
            rows = self.english.double()
            safe, many = safe + rows.T @ rows, many + len(rows)
        return Sums(self.low, self.cross, self.shift, safe, self.many[0], many)

    def spanned(self) -> bool:
        """By the sums."""
        return products_span(self.problem.safe)

    def solve(self, columns: Sequence[Tensor], gamma: float, ridge: float) -> list[Solution]:
        """In the reduced form."""
        return self.problem.solve(columns, self.problem.weights(gamma, ridge))

    def curve(self, solution: Solution, columns: Tensor) -> Curve:
        """By the sums."""
        change = solution.full @ solution.right
        steps = (change * (self.low @ change)).sum(0) - 2 * (change * (self.cross @ (columns @ solution.right))).sum(0)
        leaked = (change * (self.safe @ change)).sum(0)
        gap, harmless = ((columns * (each @ columns)).sum() for each in (self.shift, self.safe))
        return Curve(_from(gap, steps), _from(0.0, leaked), float(harmless), self.many)


def _from(start: Tensor | float, steps: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)]) + start


def _root(part: Tensor, whole: Tensor | float) -> float:
    """Of one sum of squares over another; 0 of nothing."""
    return math.sqrt(max(float(part), 0.0) / float(whole)) if float(whole) > 0 else 0.0
