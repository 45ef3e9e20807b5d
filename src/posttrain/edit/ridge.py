"""The low-rank ridge of sparse weight editing (Liang et al. 2026, arXiv:2602.22554), in closed form.

Row vectors: a projection gives X W. Its columns in S change by Delta, so that harmful prompts of a low-resource
language give what their English translations give, and harmless prompts give what they gave (Eq. 8):

    min over rank(Delta) <= r of  J = |X_low Delta - D|^2 + gamma |X_safe Delta|^2 + lambda |Delta|^2

    Q = X_low' X_low + gamma X_safe' X_safe + lambda I = R'R,    M = Q^-1 X_low' D,    R M = U Sigma V'
    Delta = R^-1 U Sigma_r V'  =  M V_r V_r'                                               (Theorem 4.1)

Symbols: X_low -> `low` (N_h, d), X_safe -> `safe` (N_s, d), D -> `gap` (N_h, m), M -> `Solution.full` (d, m), V ->
`Solution.right` (m, m), Sigma^2 -> `Solution.energy` (m,). All is float64: with lambda far below the inputs' scale,
float32 has no Cholesky factor.

Three forms give one answer. `primal` is the theorem's. `reduced` takes V from the m x m matrix D' X_low M = V Sigma^2
V'. `dual` does too, and takes M from the anchors' own products, A'(A A' + lambda I)^-1 [D; 0] with A = [X_low;
sqrt(gamma) X_safe]: the one to use where there are fewer anchors than inputs. One spectrum tells the value of any rank:
J(r) = |D|^2 - sum of the first r of Sigma^2.

Differs from the paper: it gives neither gamma nor lambda. Here both may be told without a scale: gamma in units of
N_h / N_s, lambda in units of tr(Q - lambda I) / d, so that neither repeated anchors nor scaled inputs change an edit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Form = Literal["auto", "primal", "reduced", "dual"]
RANK = 32
"""Of the paper's main table: its row of rank 32 equals the table's."""


class Weights(NamedTuple):
    """Of the terms of the objective, as they stand in it."""

    gamma: float
    """Of harmless prompts."""
    ridge: float
    """Of the size of the change, lambda."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The best change of every rank."""

    full: Tensor
    """M, the best change of full rank, (d, m)."""
    right: Tensor
    """V, (m, m): columns, the most important first."""
    energy: Tensor
    """Sigma^2, (m,), falling: by how much each further rank lowers the objective."""
    gap: float
    """|D|^2, the objective without a change."""
    weights: Weights

    def delta(self, rank: int | None = RANK) -> Tensor:
        """The best change of at most a rank, (d, m); None for no bound."""
        if rank is None or rank >= len(self.energy):
            return self.full
        kept = self.right[:, : _positive(rank)]
        return (self.full @ kept) @ kept.T

    def loss(self, rank: int | None = RANK) -> float:
        """J of that change."""
        kept = self.energy if rank is None else self.energy[: _positive(rank)]
        return self.gap - float(kept.sum())

    def rank(self, share: float = 0.99) -> int:
        """The least rank that has a share of what full rank gains; at least 1."""
        if not 0 < share <= 1:
            raise ValueError(f"share={share} must lie in (0, 1]; 0.99 keeps nearly all of the gain.")
        total = self.energy.cumsum(0)
        return 1 + int((total < share * total[-1]).sum()) if total[-1] > 0 else 1


class Ridge:
    """The anchors' side of the problem: it is factorised once for each pair of weights, for all gaps and ranks.

    Args:
        low: Inputs of the projection on harmful prompts, (N_h, d).
        safe: On harmless ones, (N_s, d); N_s may be 0.
        form: `auto` takes `dual` where there are fewer anchors than inputs, else `reduced`.

    Raises:
        ValueError: The shapes do not fit, or a number is not finite.
    """

    def __init__(self, low: Tensor, safe: Tensor, *, form: Form = "auto") -> None:
        self.low, self.safe = _matrix("low", low), _matrix("safe", safe)
        if self.low.shape[1] != self.safe.shape[1]:
            raise ValueError(
                f"low has {self.low.shape[1]} inputs and safe {self.safe.shape[1]}; both must be of one projection."
            )
        if not len(self.low):
            raise ValueError("There is no harmful prompt; give at least one.")
        if form not in ("auto", "primal", "reduced", "dual"):
            raise ValueError(f"form={form!r} is unknown; use auto, primal, reduced or dual.")
        few = len(self.low) + len(self.safe) < self.low.shape[1]
        self.form: Form = ("dual" if few else "reduced") if form == "auto" else form
        self._products = _Dual(self.low, self.safe) if self.form == "dual" else _Primal.of(self.low, self.safe)

    def weights(self, gamma: float = 1.0, ridge: float = 1e-2) -> Weights:
        """Weights as they stand in the objective, from ones without a scale."""
        many, harmless = len(self.low), len(self.safe)
        return scaled(gamma, ridge, self._products.traces, (many, harmless), self.low.shape[1])

    def solve(self, gaps: Sequence[Tensor], weights: Weights) -> list[Solution]:
        """The best changes for several gaps, (N_h, m) each, with one factorisation.

        Raises:
            ValueError: The weights are negative, a gap does not fit, or Q is not positive definite.
        """
        gaps = [_matrix("gap", gap) for gap in gaps]
        for gap in gaps:
            if len(gap) != len(self.low):
                raise ValueError(f"gap has {len(gap)} rows and low {len(self.low)}; both must be of the same prompts.")
        factor = self._products.factor(checked(weights))
        found = []
        for gap in gaps:
            full, size = factor.solve(self._products.side(gap)), float(gap.square().sum())
            if self.form == "primal":
                assert factor.root is not None
                found.append(_literal(full, factor.root, size, weights))
            else:
                found.append(_reduced(full, gap.T @ (self.low @ full), size, weights))
        return found


class _Factor(NamedTuple):
    solve: Callable[[Tensor], Tensor]
    """From X_low' D, or in the dual from [D; 0], to M."""
    root: Tensor | None
    """R' of Q = R'R."""


class _Primal:
    """X_low' X_low and X_safe' X_safe, (d, d) each."""

    def __init__(self, low: Tensor, safe: Tensor, rows: Tensor | None = None) -> None:
        self.low, self.safe, self._rows = low, safe, rows
        self.traces = float(low.trace()), float(safe.trace())

    @classmethod
    def of(cls, low: Tensor, safe: Tensor) -> _Primal:
        return cls(low.T @ low, safe.T @ safe, low)

    def side(self, gap: Tensor) -> Tensor:
        assert self._rows is not None
        return self._rows.T @ gap

    def factor(self, weights: Weights) -> _Factor:
        q = self.low + weights.gamma * self.safe
        q.diagonal().add_(weights.ridge)
        root = _cholesky(q, weights)
        return _Factor(lambda side: torch.cholesky_solve(side, root), root)


class _Dual:
    """The anchors' products with each other, (N, N)."""

    def __init__(self, low: Tensor, safe: Tensor) -> None:
        self._all, self._many = torch.cat([low, safe]), len(low)
        self._products = self._all @ self._all.T
        diagonal = self._products.diagonal()
        self.traces = float(diagonal[: self._many].sum()), float(diagonal[self._many :].sum())

    def side(self, gap: Tensor) -> Tensor:
        return torch.cat([gap, gap.new_zeros(len(self._all) - self._many, gap.shape[1])])

    def factor(self, weights: Weights) -> _Factor:
        scale = torch.ones(len(self._all), dtype=torch.float64)
        scale[self._many :] = math.sqrt(weights.gamma)
        inner = self._products * scale[:, None] * scale
        inner.diagonal().add_(weights.ridge)
        root = _cholesky(inner, weights)
        return _Factor(lambda side: self._all.T @ (scale[:, None] * torch.cholesky_solve(side, root)), None)


@dataclass(frozen=True, eq=False)
class Sums:
    """The same problem from sums over prompts, for more prompts than fit: the gap is E W_S with E = X_english - X_low.

    Each is (d, d), float64: X_low' X_low, X_low' E, E' E and X_safe' X_safe, with the numbers of prompts.
    """

    low: Tensor
    cross: Tensor
    shift: Tensor
    safe: Tensor
    many: int
    harmless: int

    def weights(self, gamma: float = 1.0, ridge: float = 1e-2) -> Weights:
        """As `Ridge.weights`."""
        traces = float(self.low.trace()), float(self.safe.trace())
        return scaled(gamma, ridge, traces, (self.many, self.harmless), len(self.low))

    def solve(self, columns: Sequence[Tensor], weights: Weights) -> list[Solution]:
        """The best changes of several sets of columns W_S, (d, m) each, with one factorisation."""
        factor = _Primal(self.low, self.safe).factor(checked(weights))
        found = []
        for w in columns:
            w = _matrix("columns", w)
            side = self.cross @ w
            full = factor.solve(side)
            found.append(_reduced(full, side.T @ full, float((w * (self.shift @ w)).sum()), weights))
        return found


def low_rank_ridge(
    low: Tensor,
    safe: Tensor,
    gap: Tensor,
    *,
    gamma: float = 1.0,
    ridge: float = 1e-2,
    rank: int | None = RANK,
    form: Form = "auto",
) -> Tensor:
    """The change of the columns in S, (d, m).

    Args:
        low: Inputs of the projection on harmful prompts, (N_h, d).
        safe: On harmless ones, (N_s, d).
        gap: What the columns should give beyond what they do, (N_h, m).
        gamma: Weight of harmless prompts, in units of N_h / N_s.
        ridge: Weight of the change's size, in units of the mean diagonal of Q without it.
        rank: At most; None for no bound.
        form: See `Ridge`.

    Raises:
        ValueError: Shapes, weights or numbers make no sense, or Q is not positive definite.
    """
    problem = Ridge(low, safe, form=form)
    return problem.solve([gap], problem.weights(gamma, ridge))[0].delta(rank)


def hard_constraint(low: Tensor, safe: Tensor, gap: Tensor, *, ridge: float, energy: float = 0.0) -> Tensor:
    """The limit of gamma to infinity, (d, m): the best change that the harmless prompts do not see at all.

    Args:
        low: (N_h, d).
        safe: (N_s, d).
        gap: (N_h, m).
        ridge: lambda, as it stands in the objective.
        energy: The share of the harmless inputs' energy that may be left in sight, in the weakest directions.
    """
    safe = _matrix("safe", safe)
    free = weakest(safe.T @ safe, energy)
    inside = _matrix("low", low) @ free
    if not free.shape[1]:
        return torch.zeros(low.shape[1], gap.shape[1], dtype=torch.float64)
    problem = Ridge(inside, inside[:0])
    return free @ problem.solve([gap], Weights(0.0, ridge))[0].full


def weakest(products: Tensor, energy: float = 0.0) -> Tensor:
    """Orthonormal directions, (d, k), that hold at most a share of the energy, all together.

    Args:
        products: X_safe' X_safe, (d, d).
        energy: The share; 0 for what is nothing but rounding.
    """
    if not 0 <= energy < 1:
        raise ValueError(f"energy={energy} must lie in [0, 1); 0 leaves only directions that no prompt has.")
    values, directions = torch.linalg.eigh(products)
    values = values.clamp(min=0)
    values[values <= len(values) * torch.finfo(values.dtype).eps * values.max()] = 0.0
    return directions[:, values.cumsum(0) <= energy * values.sum()]


def spans(safe: Tensor, share: float = 1e-6) -> bool:
    """Whether harmless inputs, (N_s, d), leave no direction free, so that a large gamma forbids every change.

    Args:
        safe: (N_s, d).
        share: A direction is free if its energy is below this share of the mean.
    """
    rows = _matrix("safe", safe)
    return len(rows) >= rows.shape[1] and products_span(rows.T @ rows, share)


def products_span(safe: Tensor, share: float = 1e-6) -> bool:
    """The same by the sum of their products, X_safe' X_safe, (d, d)."""
    free = share * float(safe.trace()) / len(safe)
    products = safe - free * torch.eye(len(safe), dtype=safe.dtype)
    return int(torch.linalg.cholesky_ex(products).info) == 0


def scaled(gamma: float, ridge: float, traces: tuple[float, float], many: tuple[int, int], inputs: int) -> Weights:
    """Weights as they stand in the objective.

    Args:
        gamma: In units of N_h / N_s.
        ridge: In units of the mean diagonal of Q without it.
        traces: Of X_low' X_low and of X_safe' X_safe.
        many: N_h and N_s.
        inputs: d.
    """
    checked(Weights(gamma, ridge))
    gamma = gamma * many[0] / many[1] if many[1] else 0.0
    return Weights(gamma, ridge * (traces[0] + gamma * traces[1]) / inputs)


def checked(weights: Weights) -> Weights:
    """The weights, or a sentence about them."""
    for name, value in weights._asdict().items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value} must be a finite number of at least 0.")
    return weights


def _reduced(full: Tensor, inner: Tensor, gap: float, weights: Weights) -> Solution:
    energy, right = torch.linalg.eigh((inner + inner.T) / 2)
    return Solution(full, right.flip(1), energy.flip(0).clamp(min=0), gap, weights)


def _literal(full: Tensor, root: Tensor, gap: float, weights: Weights) -> Solution:
    """By the singular values of R M; those that a matrix of fewer inputs than columns cannot have are 0."""
    _, sigma, right = torch.linalg.svd(root.T @ full, full_matrices=False)
    energy = torch.zeros(full.shape[1], dtype=torch.float64)
    energy[: len(sigma)] = sigma.square()
    return Solution(full, right.T, energy, gap, weights)


def _cholesky(matrix: Tensor, weights: Weights) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        raise ValueError(
            f"The system is singular at gamma={weights.gamma:.3g} and ridge={weights.ridge:.3g}: the anchors do not "
            "span the inputs; raise ridge (0.01 of the mean energy is the default)."
        )
    return factor


def _matrix(name: str, value: Tensor) -> Tensor:
    if value.ndim != 2:
        raise ValueError(f"{name} has the shape {tuple(value.shape)}; expected a matrix with one row per prompt.")
    value = value.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(value).all()):
        row = int((~torch.isfinite(value)).any(1).nonzero()[0])
        raise ValueError(f"Row {row} of {name} has a number that is not finite; leave that prompt out.")
    return value


def _positive(rank: int) -> int:
    if rank < 1:
        raise ValueError(f"rank={rank} must be at least 1; the paper uses 32, and hardly any rank matters.")
    return rank
