"""Dataclasses as flags, with their field docstrings as help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], *, prog: str, description: str) -> T:
    """Build `kind` from flags; a field of type Any takes any text, and one that is no text has no flag."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def text_for_any(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
        if info.type is not Any:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="TEXT",
            instance_from_str=lambda texts: texts[0],
            is_instance=lambda _: True,
            str_from_instance=lambda value: [str(value)],
        )

    with registry:
        config = (tyro.conf.SuppressFixed,)
        return tyro.cli(kind, args=list(arguments), prog=prog, description=description, config=config)
