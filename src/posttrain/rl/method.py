"""Methods: what a paper changes in GRPO.

A method fills some of eight hooks. They live in three scopes, because an engine shuffles and splits a batch before
the loss:

    this rank's rows           rollout    answer the tasks
                               reward     add to each row's reward
    all ranks' rows,           extend     add rows, now that the answers' rewards are known
    without a token axis       credit     advantages
                               remember   the method's new state; the only hook that changes it
    one micro-batch, live      anchor     what the ratio is taken against
                               shape      rescale or mask the advantages
                               penalty    a term of the loss, with gradient

A recipe stacks methods on `GRPO`, which answers, credits and anchors where nobody else does:

    recipe = rlad(teacher="Qwen/Qwen3-8B") | ceeh()

Rewards and penalties add up, shapes apply in order, every method remembers its own state; `rollout`, `extend`,
`credit` and `anchor` have one owner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from posttrain.rl.batch import Credit, Live, Memory, Row, Sampler, Table, Task
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
    """The key under which `Live.scores` and, with other prompts, `Row.scores` hold them."""
    model: Any = None
    """A path, a hub id or a module; None is the policy itself."""
    prompts_of_row: Callable[[Row], Sequence[Any]] | None = None
    """N prompts to score a row's tokens under, as text, messages or ids; None is the row's own prompt. The number is
    the same for all rows. They are there before the reward: `Row.scores` (N, T), `Live.scores` (B, N, T)."""
    rows: Callable[[Row], bool] | None = None
    """With other prompts: which rows to score; the others hold NaN. None scores all."""

    def __post_init__(self) -> None:
        if self.model is None and self.prompts_of_row is None:
            raise ValueError(
                f"The score {self.name!r} has neither a model nor prompts, so it is the policy's own log-probability; "
                "read Live.logp, or give it one of the two."
            )


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
    reads_text: ClassVar[bool] = False
    """Whether `Table.prompts` and `Table.completions` are needed; they are gathered over all ranks."""
    needs_turns: ClassVar[bool] = False
    """Whether `credit` reads the turns of episodes."""
    episodic: ClassVar[bool] = False
    """Whether `rollout` plays episodes: rows with turns, rewarded and judged by a world."""

    @property
    def settings(self) -> Settings:
        """Loss settings the paper fixes."""
        return Settings()

    def scores(self) -> Sequence[Score]:
        """Extra log-probabilities the hooks read from `Live.scores`."""
        return ()

    def initial_state(self) -> Any:
        """JSON values that `remember` replaces, saved with every checkpoint; None for no state."""
        return None

    def check(self, recipe: Recipe) -> list[str]:
        """Raise if this method cannot work in this recipe; what else is worth telling about it, in sentences."""
        return []

    def check_group_size(self, size: int) -> None:
        """Raise if this method cannot work with groups of this size."""

    def check_state(self, state: Any, keys: Collection[str]) -> None:
        """Raise if a saved state cannot belong to a data set with these prompt ids."""

    async def rollout(self, tasks: Sequence[Task], sampler: Sampler, state: Any) -> list[Row]:
        """One row per task of this rank, in their order: an answer, or an episode of turns."""
        raise NotImplementedError  # a hook that is not overridden is never called

    async def reward(self, rows: Sequence[Row]) -> Sequence[float]:
        """A term to add to each row's reward; NaN makes the row unscored."""
        raise NotImplementedError

    async def extend(self, table: Table, state: Any, sampler: Sampler) -> list[Row]:
        """More rows for this rank, now that `table` holds all ranks' answers with their rewards."""
        raise NotImplementedError

    def credit(self, table: Table, state: Any) -> Credit:
        """Advantages from the rewards of all ranks. Must give the same on every rank."""
        raise NotImplementedError

    def remember(self, table: Table, state: Any) -> Memory:
        """The state after this generation. Called in training only, after `credit`, with the same table."""
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
        """(B, T) values to log as masked means, NaN left out; not a hook, it changes nothing."""
        return {}

    def diagnose_rows(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        """A value per row to log as a mean over all ranks, NaN left out; the row form of `diagnose`."""
        return {}

    def fills(self, hook: str) -> bool:
        """Whether this method overrides `hook`."""
        return getattr(type(self), hook) is not getattr(Method, hook)

    def __or__(self, other: Method | Recipe) -> Recipe:
        from posttrain.rl.recipe import Recipe

        return Recipe.of(self) | other
