"""Methods: what a paper changes in GRPO.

A method fills some of six hooks. They live in three scopes, because an engine shuffles and splits a batch before
the loss: `rollout` and `reward` see the rows of one rank, `credit` the rows of all ranks without a token axis,
`anchor`, `shape` and `penalty` one micro-batch. A recipe stacks methods on `GRPO`, which fills every hook:

    recipe = rlad(teacher="Qwen/Qwen3-8B") | some_other_method()

Rewards and penalties add up and shapes apply in order; `rollout`, `credit` and `anchor` have one owner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from posttrain.rl.batch import Credit, Live, Row, Sampler, Table
from posttrain.rl.math import Aggregation

if TYPE_CHECKING:
    from posttrain.rl.recipe import Recipe


@dataclass(frozen=True)
class Score:
    """Log-probabilities of a row's tokens under another model, another prompt, or both.

    The engine computes them once per batch, without gradient, at the sampling temperature and without ever
    holding (tokens x vocabulary) logits.
    """

    name: str
    """The key under which `Live.scores` holds them."""
    model: Any = None
    """A path, a hub id or a module; None is the policy itself."""
    prompt_of_row: Callable[[Row], Any] | None = None
    """The prompt to score under, from a row; None is the row's own."""


@dataclass(frozen=True)
class Settings:
    """What the loss needs besides the hooks. None means: no opinion."""

    clip_low: float | None = None
    """The ratio's lower bound is 1 - clip_low."""
    clip_high: float | None = None
    """The ratio's upper bound is 1 + clip_high."""
    dual_clip: float | None = None
    """Upper bound of the ratio for negative advantages; 0 switches it off."""
    aggregation: Aggregation | None = None
    """`sequence` (GRPO) or `token` (DAPO)."""
    kl_beta: float | None = None
    """Weight of the k3 KL to the reference policy."""

    def __post_init__(self) -> None:
        if self.clip_low is not None and not 0 < self.clip_low <= 1:
            raise ValueError(f"clip_low={self.clip_low} must lie in (0, 1]; the GRPO paper uses 0.2.")
        if self.clip_high is not None and not self.clip_high > 0:
            raise ValueError(f"clip_high={self.clip_high} must be above 0; the GRPO paper uses 0.2, DAPO 0.28.")
        if self.dual_clip and not self.dual_clip > 1 + (self.clip_high or 0):
            raise ValueError(
                f"dual_clip={self.dual_clip} must exceed 1 + clip_high = {1 + (self.clip_high or 0)}, or be 0 for none."
            )
        if self.aggregation not in (None, "sequence", "token"):
            raise ValueError(f"aggregation={self.aggregation!r} is unknown; use 'sequence' or 'token'.")
        if self.kl_beta is not None and not self.kl_beta >= 0:
            raise ValueError(f"kl_beta={self.kl_beta} must not be negative; 0 switches the KL off.")

    def given(self) -> dict[str, Any]:
        """The settings that are not None."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


@dataclass(frozen=True)
class Method:
    """What a paper changes. Subclass it as a frozen dataclass and override the hooks the paper changes."""

    name: ClassVar[str] = "method"
    paper: ClassVar[str] = ""

    @property
    def settings(self) -> Settings:
        """Loss settings the paper fixes."""
        return Settings()

    def scores(self) -> Sequence[Score]:
        """Extra log-probabilities the hooks read from `Live.scores`."""
        return ()

    def initial_state(self) -> Any:
        """JSON values that `credit` reads and replaces, saved with every checkpoint; None for no state."""
        return None

    async def rollout(self, tasks: Sequence[Any], sampler: Sampler) -> list[Row]:
        """Rows for this rank's tasks."""
        raise NotImplementedError  # a hook that is not overridden is never called

    async def reward(self, rows: Sequence[Row]) -> Sequence[float]:
        """A term to add to each row's reward; NaN makes the row unscored."""
        raise NotImplementedError

    def credit(self, table: Table, state: Any) -> Credit:
        """Advantages from the rewards of all ranks. Must give the same on every rank."""
        raise NotImplementedError

    def anchor(self, live: Live) -> Tensor:
        """(B, T) log-probabilities the ratio is taken against."""
        raise NotImplementedError

    def shape(self, live: Live) -> Tensor:
        """(B, T) advantages in place of `live.advantages`."""
        raise NotImplementedError

    def penalty(self, live: Live) -> Tensor:
        """(B, T) or (B,) term to add to the loss, with gradient; aggregated exactly like the policy term."""
        raise NotImplementedError

    def diagnose(self, live: Live) -> dict[str, Tensor]:
        """(B, T) values to log as masked means; not a hook, it changes nothing."""
        return {}

    def fills(self, hook: str) -> bool:
        """Whether this method overrides `hook`."""
        return getattr(type(self), hook) is not getattr(Method, hook)

    def __or__(self, other: Method | Recipe) -> Recipe:
        from posttrain.rl.recipe import Recipe

        return Recipe.of(self) | other
