"""An arm of a comparison: `rlad`, `kdrl:beta=0.2,anneal_to=0.002`, or parts joined by `|`.

Besides the fields of its method a part may set how the arm is run: `prompts`, `group_size`, `temperature`, and `data`,
the name of other rows of the task.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from posttrain.catalog import method_class
from posttrain.values import expected, literal

if TYPE_CHECKING:
    from posttrain.rl.recipe import Recipe

RUN = {"prompts": int, "group_size": int, "temperature": float, "data": str}
"""Options of a run that an arm may set for itself, and their types."""

OBJECTS = ("teacher", "critique_form", "worlds", "view", "embed")
"""Fields that hold an object, which the task gives."""


class Part(NamedTuple):
    """One recipe of an arm."""

    recipe: str
    """A name of the catalog."""
    options: Mapping[str, Any]
    """Fields of the recipe's method."""


@dataclass(frozen=True)
class Arm:
    """One recipe in a comparison."""

    label: str
    """As the user wrote it."""
    parts: tuple[Part, ...]
    """Joined by `|`."""
    run: Mapping[str, Any]
    """Options of the run."""

    @property
    def slug(self) -> str:
        """The label as a file name."""
        return "".join(c if c.isalnum() or c in ".=-_" else "+" for c in self.label)

    def build(self, **given: Any) -> Recipe:
        """The recipe; a method gets of `given` what it has a field for, such as its teacher."""
        from posttrain.rl.recipe import Recipe

        built = []
        for part in self.parts:
            method = method_class(part.recipe)
            has = {f.name for f in fields(method)}
            built.append(Recipe.of(method(**{k: v for k, v in given.items() if k in has}, **part.options)))
        return reduce(or_, built)

    def has(self, field: str) -> bool:
        """Whether a method has a field of this name, such as a teacher."""
        return any(f.name == field for part in self.parts for f in fields(method_class(part.recipe)))


def parse(text: str) -> Arm:
    """An arm from its text; a sentence for an unknown recipe, option or value."""
    parts, run = [], dict[str, Any]()
    for piece in text.split("|"):
        name, _, tail = piece.strip().partition(":")
        method = method_class(name)
        hints = get_type_hints(method)
        known = {f.name: hints[f.name] for f in fields(method) if f.name not in OBJECTS} | RUN
        options: dict[str, Any] = {}
        for option in filter(None, tail.split(",")):
            key, equals, written = option.partition("=")
            if not equals or key not in known:
                raise ValueError(
                    f"The arm {text!r} has the option {option!r}; write key=value with one of {', '.join(known)}."
                )
            value = literal(written)
            if wanted := expected(value, known[key]):
                raise ValueError(f"The arm {text!r} has {option}; {key} is {wanted}.")
            (run if key in RUN else options)[key] = value
        parts.append(Part(name, options))
    for key in ("prompts", "temperature"):
        if key in run and not 0 < run[key] < math.inf:
            raise ValueError(f"The arm {text!r} has {key}={run[key]}; it must be above 0 and finite.")
    arm = Arm(text, tuple(parts), run)
    arm.build(teacher="teacher")
    return arm


def parse_all(texts: Iterable[str]) -> list[Arm]:
    """Distinct arms, at least one."""
    arms = [parse(text) for text in texts]
    if not arms:
        raise ValueError("There is nothing to compare; name at least one recipe, such as grpo rlad.")
    labels = [arm.label for arm in arms]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"The arm {label!r} is named twice; name it once.")
    return arms
