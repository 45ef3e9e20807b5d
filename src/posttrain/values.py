"""Values that people write: as text, and as numbers that must make sense."""

from __future__ import annotations

import ast
from typing import Any


def literal(text: str) -> Any:
    """A Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_group_size(size: int) -> None:
    """Raise unless a group has something to compare a completion with."""
    if size < 2:
        raise ValueError(f"group_size={size} leaves nothing to compare a completion with; use at least 2 (RLAD: 8).")
