"""Python's own arithmetic, to check others with."""

import ast
from typing import Any


def by_python(expression: str) -> int:
    """Evaluate a sum with Python's parser."""

    def value(node: Any) -> int:
        if isinstance(node, ast.BinOp):
            left, right = value(node.left), value(node.right)
            return left + right if isinstance(node.op, ast.Add) else left - right
        assert isinstance(node, ast.Constant)
        return int(str(node.value))

    return value(ast.parse(expression, mode="eval").body)
