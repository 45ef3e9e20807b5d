"""An arm of a comparison: a recipe with its options, written `rlad` or `kdrl:beta=0.2,anneal_to=0.002`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from posttrain.catalog import method_class
from posttrain.values import literal

if TYPE_CHECKING:
    from posttrain.rl.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """One recipe in a comparison."""

    label: str
    """As the user wrote it."""
    recipe: str
    """A name of the catalog."""
    options: Mapping[str, Any]
    """Fields of the recipe's method."""

    @property
    def slug(self) -> str:
        """The label as a file name."""
        return "".join(c if c.isalnum() or c in ".=-_" else "+" for c in self.label)

    def build(self, teacher: Any) -> Recipe:
        """The recipe; `teacher` goes to methods that have one."""
        from posttrain.rl.recipe import Recipe

        method = method_class(self.recipe)
        extra = {"teacher": teacher} if self.needs_teacher else {}
        return Recipe.of(method(**extra, **self.options))

    @property
    def needs_teacher(self) -> bool:
        """Whether the method has a teacher."""
        return any(f.name == "teacher" for f in fields(method_class(self.recipe)))


def parse(text: str) -> Arm:
    """An arm from its text; a sentence for an unknown recipe, option or value."""
    name, _, tail = text.partition(":")
    method = method_class(name)
    known = [f.name for f in fields(method) if f.name != "teacher"]
    options: dict[str, Any] = {}
    for part in filter(None, tail.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in known:
            raise ValueError(
                f"The arm {text!r} has the option {part!r}; write key=value with one of {', '.join(known)}."
            )
        options[key] = literal(value)
    arm = Arm(text, name, options)
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
