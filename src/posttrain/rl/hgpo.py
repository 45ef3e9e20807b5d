"""HGPO: hierarchy-of-groups policy optimisation (He et al. 2026, arXiv:2602.22817).

A turn is compared with the turns of its task that were taken in the same state, then with those whose last state was
the same as well, and so on down to `depth` states back; the deeper the level, the more it counts:

    R_t = sum_{j >= t} gamma^(j - t) r_j                                                        (step return)
    C_k(s_t) = (s_{t-k}, ..., s_t)                                                              (context)
    G_k(t) = turns of the same task with the same C_k
    A_k = (R_t - mean(R over G_k)) / std(R over G_k),    norm="mean": not divided
    A = sum_k w_k A_k,    w_k = (k + 1)^alpha / sum_l (l + 1)^alpha                             (Eq. 7, Sec. 5.1)

GiGPO is the level k = 0; turns with equal states and different histories are different decisions for a policy that
sees its last turns, and k = 0 compares them all the same. `depth` should not exceed the turns that a prompt shows.
There is no term for whole episodes. The ratio is clipped to [1 - 0.2, 1 + 0.2], with a KL of weight 0.01 (k3).
Symbols: r_j and s_t -> `table.acted`, K -> `depth`, gamma -> `gamma`, alpha -> `alpha`; the arithmetic is in
`hierarchy.py`, with what is open in the paper.

Differs from the paper: a method's or a second reward function's share of an episode's reward counts as earned by the
last turn. A fine for an inadmissible action is taken from its own turn's return, after discounting, as in the released
code. Weights follow the paper; the code's are 2 : 3 : ... (`weight_offset=2`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from posttrain.rl.agent import Agent
from posttrain.rl.batch import Credit, Table
from posttrain.rl.hierarchy import Drop, Norm, Prefix, hierarchy_credit
from posttrain.rl.method import Method, Settings
from posttrain.rl.turns import Flat, credit_turns

if TYPE_CHECKING:
    from posttrain.rl.recipe import Recipe


@dataclass(frozen=True)
class HGPO(Method):
    """Credit by turns, from a hierarchy of groups with ever longer common histories."""

    name = "hgpo"
    paper = "He et al. 2026, arXiv:2602.22817"
    needs_turns = True

    depth: int = 2
    """K: states that the deepest level looks back (the paper: 2 and 4, the turns in its prompts)."""
    alpha: float = 1.0
    """Power of the weights; 0 weights all levels alike."""
    gamma: float = 0.95
    """Discount per turn."""
    norm: Norm = "std"
    """Divide by the group's deviation (ALFWorld), or only subtract its `mean` (WebShop)."""
    weight_offset: int = 1
    """Weights are (k + weight_offset)^alpha: 1 is the paper's, 2 the released code's."""
    drop: Drop = "group"
    """What is left out of the average: levels whose `group` has equal returns, or each `member` at its group's mean
    (the released code)."""
    prefix: Prefix = "absent"
    """Turns that have no k turns before them lack level k, or `pad`: are compared with each other."""
    epsilon: float = 1e-6
    """Added to the deviation."""
    kl_beta: float | None = 0.01
    """Weight of the k3 KL to the reference policy; None leaves it open."""

    def __post_init__(self) -> None:
        _ = self.settings
        check_discounted(self.gamma, self.norm, self.epsilon)
        if self.depth < 0:
            raise ValueError(f"depth={self.depth} must not be negative; 0 compares by the present state alone.")
        if not 0 <= self.alpha <= 100:
            raise ValueError(f"alpha={self.alpha} must lie in [0, 100]; the paper uses 1.")
        if self.weight_offset < 1:
            raise ValueError(f"weight_offset={self.weight_offset} must be at least 1: 1 the paper's, 2 the code's.")
        if self.drop not in ("group", "member"):
            raise ValueError(f"drop={self.drop!r} is unknown; use 'group' or 'member'.")
        if self.prefix not in ("absent", "pad"):
            raise ValueError(f"prefix={self.prefix!r} is unknown; use 'absent' or 'pad'.")

    @property
    def settings(self) -> Settings:
        """A small KL to the reference."""
        return Settings(kl_beta=self.kl_beta)

    def check(self, recipe: Recipe) -> list[str]:
        """There are turns, and prompts that show what they are compared by."""
        return check_turns(self.name, self.depth, recipe)

    def credit(self, table: Table, state: Any) -> Credit:
        """A, (E, K): one per turn of each episode."""
        found = credit_turns(table, self.gamma, self._of_turns)
        turns = sum(map(len, table.acted or ()))
        return Credit(found, metrics={"hgpo/credited": int((found != 0).sum()) / max(turns, 1)})

    def _of_turns(self, turns: Flat, returns: Tensor, task: Tensor) -> Tensor:
        """(N,) from the step returns (N,)."""
        return hierarchy_credit(
            turns.states,
            turns.episode,
            task,
            returns,
            depth=self.depth,
            alpha=self.alpha,
            gamma=0.0,
            norm=self.norm,
            weight_offset=self.weight_offset,
            drop=self.drop,
            prefix=self.prefix,
            epsilon=self.epsilon,
        )


def check_turns(name: str, depth: int, recipe: Recipe) -> list[str]:
    """Raise if nothing plays episodes; a note if turns are compared by more states than prompts show."""
    owner = recipe.owner("rollout")
    if not owner.episodic:
        raise ValueError(
            f"{name} credits the turns of episodes, and {owner.name} answers in one; put agent(worlds=...) before it, "
            f"agent(worlds=...) | {name}(...), or --task a world."
        )
    shown = owner.window if isinstance(owner, Agent) and owner.form == "window" else depth
    return [f"{name} compares turns by {depth} earlier states, of which prompts show {shown}."] * (depth > shown)


def check_discounted(gamma: float, norm: str, epsilon: float) -> None:
    """Reject values that no credit by turns can have."""
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma={gamma} must lie in [0, 1]; the paper uses 0.95.")
    if norm not in ("std", "sample", "mean"):
        raise ValueError(f"norm={norm!r} is unknown; use 'std', 'sample' or 'mean'.")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon={epsilon} must be finite and not negative; the default is 1e-6.")
