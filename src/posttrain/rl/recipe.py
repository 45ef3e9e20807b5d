"""A recipe: methods stacked on GRPO, with one owner for each hook that can have only one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posttrain.rl.batch import Credit, Live, Memory, Row, Table
from posttrain.rl.grpo import GRPO
from posttrain.rl.math import group_any, over_tokens
from posttrain.rl.method import Method, Score, Settings

OWNED = ("rollout", "extend", "credit", "anchor")
"""Hooks with one owner. The others add up (`reward`, `penalty`), apply in order (`shape`) or mind their own
(`remember`)."""


class RecipeClash(ValueError):
    """Two methods want different things of one hook or one setting."""


class Sourced(NamedTuple):
    """A value and where it comes from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Recipe:
    """Methods in order, on top of a GRPO. Build one with `grpo()`, `rlad(...)` and `|`."""

    base: GRPO = field(default_factory=GRPO)
    """Fills every hook that no method fills."""
    methods: tuple[Method, ...] = ()
    """In the order in which shapes apply."""

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        for name in names:
            if names.count(name) > 1:
                raise RecipeClash(f"{name} stands twice in one recipe; keep one of them.")
        for hook in OWNED:
            owners = [method for method in self.methods if method.fills(hook)]
            if len(owners) > 1:
                first, second = owners[:2]
                raise RecipeClash(
                    f"{first.name} ({first.paper}) and {second.name} ({second.paper}) both define {hook}; "
                    "a recipe has one owner for it, so leave one of them out."
                )
        if self.episodic and self.fills("extend"):
            raise RecipeClash(
                f"{self.owner('extend').name} adds rows to answers, and {self.owner('rollout').name} plays episodes; "
                "leave one of them out."
            )
        _ = self.settings, self.scores()

    @classmethod
    def of(cls, part: Method | Recipe) -> Recipe:
        """A recipe of one method, or the recipe itself."""
        if isinstance(part, Recipe):
            return part
        return cls(base=part) if isinstance(part, GRPO) else cls(methods=(part,))

    def __or__(self, other: Method | Recipe) -> Recipe:
        right = Recipe.of(other)
        return Recipe(_merge_bases(self.base, right.base), self.methods + right.methods)

    @property
    def name(self) -> str:
        """The methods' names joined by `|`, or the base's."""
        return "|".join(method.name for method in self.methods) or self.base.name

    @property
    def parts(self) -> tuple[Method, ...]:
        """The base, then the methods."""
        return (self.base, *self.methods)

    def owner(self, hook: str) -> Method:
        """The method that defines `hook`: the one that fills it, else the base."""
        return next((method for method in self.methods if method.fills(hook)), self.base)

    @property
    def reads_text(self) -> bool:
        """Whether any method needs the table's texts."""
        return any(part.reads_text for part in self.parts)

    @property
    def episodic(self) -> bool:
        """Whether rows are episodes of many turns."""
        return self.owner("rollout").episodic

    def fills(self, hook: str) -> bool:
        """Whether any method besides the base fills `hook`."""
        return any(method.fills(hook) for method in self.methods)

    @cached_property
    def sources(self) -> dict[str, Sourced]:
        """Each loss setting with its source; two different values for one setting are a clash."""
        defaults = GRPO()
        chosen: dict[str, Sourced] = {}
        own = {k: v for k, v in self.base.settings.given().items() if v != getattr(defaults, k)}
        for name, given in [(self.base.name, own), *((m.name, m.settings.given()) for m in self.methods)]:
            for key, value in given.items():
                if key in chosen and chosen[key].value != value:
                    raise RecipeClash(
                        f"{chosen[key].source} sets {key}={chosen[key].value} and {name} sets {key}={value}; "
                        "give both the same value."
                    )
                chosen.setdefault(key, Sourced(value, name))
        return {
            f.name: chosen.get(f.name, Sourced(getattr(defaults, f.name), "grpo default")) for f in fields(Settings)
        }

    @cached_property
    def settings(self) -> Settings:
        """The loss settings, resolved."""
        return Settings(**{key: sourced.value for key, sourced in self.sources.items()})

    def scores(self) -> list[Score]:
        """All extra log-probabilities, each name once."""
        found: dict[str, Score] = {}
        for method in self.parts:
            for score in method.scores():
                if score.name in found and found[score.name] != score:
                    raise RecipeClash(
                        f"{method.name} ({method.paper}) wants a score {score.name!r} of another model or prompt than "
                        "the method before it; give both the same, or rename one."
                    )
                found.setdefault(score.name, score)
        return list(found.values())

    def initial_state(self) -> dict[str, Any]:
        """The state of every method that has one, by method name."""
        states = {part.name: part.initial_state() for part in self.parts}
        return {name: state for name, state in states.items() if state is not None}

    async def reward(self, rows: Sequence[Row]) -> list[float]:
        """The methods' reward terms, added up; NaN where any is NaN."""
        total = [0.0] * len(rows)
        for method in self.parts:
            if method.fills("reward"):
                terms = await method.reward(rows)
                if len(terms) != len(rows):
                    raise ValueError(f"{method.name} gave {len(terms)} rewards for {len(rows)} rows; give one per row.")
                total = [a + float(b) for a, b in zip(total, terms, strict=True)]
        return total

    def credit(self, table: Table, state: Mapping[str, Any] | None = None) -> Credit:
        """Advantages and row columns. The columns `scored`, `correct` and `any_correct` (B,) are always there."""
        owner = self.owner("credit")
        states = self.initial_state() if state is None else state
        credit = owner.credit(table, states.get(owner.name))
        scored = table.scored
        columns = {
            "scored": scored.to(table.rewards.dtype),
            "correct": torch.nan_to_num(table.correct, nan=0.0),
            "any_correct": group_any(table.correct, table.group),
            **credit.columns,
        }
        taking_part = scored if credit.advantages.dim() == 1 else scored.unsqueeze(1)
        advantages = torch.where(taking_part, credit.advantages, torch.zeros_like(credit.advantages))
        return replace(credit, advantages=advantages, columns=columns)

    def remember(self, table: Table, state: Mapping[str, Any]) -> Memory:
        """Every method's state after this generation, by method name, and what they say about it."""
        after, metrics = dict(state), dict[str, float]()
        for part in self.parts:
            if part.fills("remember"):
                memory = part.remember(table, state[part.name])
                after[part.name] = memory.state
                metrics.update(memory.metrics)
        return Memory(after, metrics)

    def anchor(self, live: Live) -> Tensor:
        """(B, T) log-probabilities the ratio is taken against."""
        return self.owner("anchor").anchor(live)

    def shape(self, live: Live) -> Tensor:
        """(B, T) advantages after every method's shape, in order."""
        for method in self.parts:
            if method.fills("shape"):
                live = replace(live, advantages=method.shape(live))
        return live.advantages

    def penalty(self, live: Live) -> Tensor | None:
        """(B, T) sum of the methods' penalties, or None."""
        terms = [over_tokens(part.penalty(live), live.mask) for part in self.parts if part.fills("penalty")]
        return torch.stack(terms).sum(0) if terms else None

    def diagnose(self, live: Live) -> dict[str, Tensor]:
        """(B, T) values to log as masked means."""
        return {key: value for part in self.parts for key, value in part.diagnose(live).items()}

    def diagnose_rows(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        """(B,) values to log as means over the rows of all ranks."""
        return {key: value for part in self.parts for key, value in part.diagnose_rows(rows).items()}

    def check_group_size(self, size: int) -> None:
        """Raise if any method cannot work with groups of this size."""
        for part in self.parts:
            part.check_group_size(size)

    def check(self) -> list[str]:
        """Raise if a method cannot work in this recipe; what else is worth telling, in sentences."""
        return [note for part in self.parts for note in part.check(self)]

    def describe(self) -> list[tuple[str, Any, str]]:
        """(setting, value, source) of every hyper-parameter, for people to read.

        The base's `spread` and `epsilon` are of its own credit, so they are left out where a method credits instead,
        whatever they are set to.
        """
        lines = [(key, sourced.value, sourced.source) for key, sourced in self.sources.items()]
        for part in self.parts:
            unused = ("spread", "epsilon") if part is self.base and self.fills("credit") else ()
            own = [f.name for f in fields(part) if f.name not in (*part.settings.given(), *unused)]
            lines += [(name, getattr(part, name), _source(part, name)) for name in own]
        return lines


def _source(part: Method, name: str) -> str:
    """Where a field's value comes from: the method's default, or whoever built the recipe."""
    found = next(f for f in fields(part) if f.name == name)
    default = found.default if found.default_factory is MISSING else found.default_factory()
    return f"{part.name} default" if getattr(part, name) == default else f"{part.name} given"


def _merge_bases(left: GRPO, right: GRPO) -> GRPO:
    """The base that was configured; two different configurations are a clash."""
    if right == GRPO() or left == right:
        return left
    if left == GRPO():
        return right
    for f in fields(GRPO):
        a, b = getattr(left, f.name), getattr(right, f.name)
        if a != b:
            raise RecipeClash(f"{left.name} sets {f.name}={a} and {right.name} sets {f.name}={b}; keep one of them.")
    raise RecipeClash(f"{left.name} and {right.name} are two bases; keep one of them.")
