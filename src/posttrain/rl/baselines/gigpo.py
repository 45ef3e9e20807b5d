"""What HGPO is compared with: GiGPO, its step term alone, and the deepest level alone.

    A_E = (R - mean(R)) / std(R),    R = sum_t r_t of an episode, over the episodes of its task
    A_S = (R_t - mean(R_t)) / std(R_t),    R_t the step return, over the task's turns in the same state
    GiGPO: A = A_E + omega A_S                                              (Feng et al. 2025, arXiv:2505.10978)
    same_state: A = A_S
    oracle: A = A_K of `hierarchy.py`, over turns with the same last K + 1 states: unbiased, of few turns

Symbols: R -> `table.rewards`, r_t and the states -> `table.acted`.

Differs from the paper: the released code takes the mean and the deviation of A_E over turns, so that long episodes
weigh more, and divides by the sample deviation (`norm="sample"`, here too for both terms). Observations are the same
or not; the code can also group similar ones. Fines for inadmissible actions come off R as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from posttrain.rl.batch import Credit, Table
from posttrain.rl.hgpo import check_discounted, check_turns
from posttrain.rl.hierarchy import Norm, oracle_credit, same_state_credit
from posttrain.rl.math import Spread, group_advantages
from posttrain.rl.method import Method, Settings
from posttrain.rl.turns import Flat, credit_turns

if TYPE_CHECKING:
    from posttrain.rl.recipe import Recipe

SPREAD: dict[Norm, Spread] = {"std": "population", "sample": "sample", "mean": "none"}


@dataclass(frozen=True)
class _ByTurn(Method):
    """What the three share."""

    needs_turns = True

    gamma: float = 0.95
    """Discount per turn."""
    norm: Norm = "std"
    """Divide by the population's deviation, by the `sample`'s, or only subtract the `mean`."""
    epsilon: float = 1e-6
    """Added to the deviation."""
    kl_beta: float | None = 0.01
    """Weight of the k3 KL to the reference policy; None leaves it open."""

    def __post_init__(self) -> None:
        _ = self.settings
        check_discounted(self.gamma, self.norm, self.epsilon)

    @property
    def settings(self) -> Settings:
        """A small KL to the reference."""
        return Settings(kl_beta=self.kl_beta)

    def check(self, recipe: Recipe) -> list[str]:
        """There are turns to credit."""
        return check_turns(self.name, 0, recipe)

    def credit(self, table: Table, state: Any) -> Credit:
        """A, (E, K): one per turn of each episode."""
        episodes = self._of_episodes(table)

        def credit(turns: Flat, returns: Tensor, task: Tensor) -> Tensor:
            return self._of_turns(turns, returns, task) + episodes[turns.episode]

        return Credit(credit_turns(table, self.gamma, credit))

    def _of_turns(self, turns: Flat, returns: Tensor, task: Tensor) -> Tensor:
        """(N,) from the step returns (N,)."""
        return same_state_credit(
            turns.states, turns.episode, task, returns, gamma=0.0, norm=self.norm, epsilon=self.epsilon
        )

    def _of_episodes(self, table: Table) -> Tensor:
        """(E,) that every turn of an episode gets."""
        return torch.zeros(len(table.rewards), dtype=torch.float64)


@dataclass(frozen=True)
class GiGPO(_ByTurn):
    """Credit by whole episodes, and by turns among those in the same state."""

    name = "gigpo"
    paper = "Feng et al. 2025, arXiv:2505.10978"

    omega: float = 1.0
    """Weight of the turns' term."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.omega < math.inf:
            raise ValueError(f"omega={self.omega} must be finite and not negative; the paper uses 1.")

    def _of_turns(self, turns: Flat, returns: Tensor, task: Tensor) -> Tensor:
        return self.omega * super()._of_turns(turns, returns, task)

    def _of_episodes(self, table: Table) -> Tensor:
        rewards, group = table.rewards.double().cpu(), table.group.cpu()
        return group_advantages(rewards, group, spread=SPREAD[self.norm], epsilon=self.epsilon)


@dataclass(frozen=True)
class SameState(_ByTurn):
    """Credit by turns among those in the same state: GiGPO without its term for episodes, HGPO at depth 0."""

    name = "same_state"
    paper = "Feng et al. 2025, arXiv:2505.10978"


@dataclass(frozen=True)
class Oracle(_ByTurn):
    """Credit by turns among those with the same last states, the deepest level of HGPO alone."""

    name = "oracle"
    paper = "He et al. 2026, arXiv:2602.22817"

    depth: int = 2
    """K: states that have to agree before the present one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 0:
            raise ValueError(f"depth={self.depth} must not be negative; 0 compares by the present state alone.")

    def check(self, recipe: Recipe) -> list[str]:
        """There are turns, and prompts that show what they are compared by."""
        return check_turns(self.name, self.depth, recipe)

    def _of_turns(self, turns: Flat, returns: Tensor, task: Tensor) -> Tensor:
        return oracle_credit(
            turns.states, turns.episode, task, returns,
            depth=self.depth, gamma=0.0, norm=self.norm, epsilon=self.epsilon,
        )  # fmt: skip
