"""Values that people write: as text, and as numbers that must make sense."""

from __future__ import annotations

import ast
import math
import types
from typing import Any, Literal, Union, get_args, get_origin

WORDS = {"true": True, "false": False, "inf": math.inf}
"""What people write for values that are no Python literals."""


def literal(text: str) -> Any:
    """A Python literal, `true`, `false` or `inf`, or the text itself."""
    if text in WORDS:
        return WORDS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def expected(value: Any, kind: Any) -> str:
    """What a value of a field should have been instead, in words; empty if it fits the field's type.

    Args:
        value: Any.
        kind: A type, a union of types or a `Literal`, as `typing.get_type_hints` gives it; anything else fits.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if not all(one in _NAMES or get_origin(one) is Literal for one in kinds) or any(_fits(value, k) for k in kinds):
        return ""
    return " or ".join(
        _NAMES[one] if one in _NAMES else f"one of {', '.join(map(str, get_args(one)))}" for one in kinds
    )


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "None"}


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def check_group_size(size: int) -> None:
    """Raise unless a group has something to compare a completion with."""
    if size < 2:
        raise ValueError(f"group_size={size} leaves nothing to compare a completion with; use at least 2 (RLAD: 8).")
