"""Values that people write as text."""

from __future__ import annotations

import ast
from typing import Any


def literal(text: str) -> Any:
    """A Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
