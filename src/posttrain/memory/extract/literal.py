"""JSON and Python literals inside a text, with the place of every value."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from posttrain.memory.extract.said import readable

TOKENS = 20_000
"""At most so many parts of one literal are read; a longer one is no literal."""

_TOKEN = re.compile(
    r"""\s*+(?:(?P<string>[bru]?(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'))|(?P<mark>[\[\]{}():,])|"""
    r"""(?P<word>[^\s\[\]{}():,"']++))""",
    re.DOTALL,
)
_CLOSES = {"{": "}", "[": "]", "(": ")"}
_ATOM = re.compile(r"[-+]?[0-9][\w.+\-]*|[-+]?[A-Za-z_][\w.+\-]*|\.\.\.")


class Value(NamedTuple):
    """A scalar: what it says, and the characters that say it, without quotes."""

    text: str
    start: int
    end: int


class Items(NamedTuple):
    """A list."""

    nodes: list[Node]
    start: int
    end: int

    @property
    def flat(self) -> bool:
        """Whether it has scalars only."""
        return all(type(node) is Value for node in self.nodes)


class Fields(NamedTuple):
    """A dict; keys may repeat."""

    pairs: Sequence[tuple[Value, Node]]
    start: int
    end: int


Node: TypeAlias = Value | Items | Fields


class _Open:
    """A bracket that is not closed yet."""

    __slots__ = ("close", "keys", "nodes", "start")

    def __init__(self, mark: str, start: int) -> None:
        self.close = _CLOSES[mark]
        self.start = start
        self.nodes: list[Node] = []
        self.keys: list[Value] = []

    def key(self) -> bool:
        """Take the last node for a key; False where none can be."""
        last = self.nodes[-1] if self.close == "}" and len(self.nodes) == len(self.keys) + 1 else None
        if not isinstance(last, Value):
            return False
        self.keys.append(last)
        self.nodes.pop()
        return True

    def closed(self, end: int) -> Items | Fields | None:
        """The whole; None where a dict misses a value."""
        if self.close != "}" or (self.nodes and not self.keys):
            return Items(self.nodes, self.start, end)
        if len(self.keys) != len(self.nodes):
            return None
        return Fields(list(zip(self.keys, self.nodes, strict=True)), self.start, end)


def literal(text: str, start: int) -> Items | Fields | None:
    """The list or dict that begins at `start`; None if there is none that ends."""
    stack: list[_Open] = []
    at, fresh = start, True
    for _ in range(TOKENS):
        token = _TOKEN.match(text, at)
        if token is None:
            return None
        at, first = token.end(), token.start(token.lastindex or 0)
        part = text[first:at]
        if part in _CLOSES:
            if not fresh:
                return None
            stack.append(_Open(part, first))
        elif not stack:
            return None
        elif part == ",":
            if fresh:
                return None
            fresh = True
        elif part == ":":
            if fresh or not stack[-1].key():
                return None
            fresh = True
        elif part == stack[-1].close:
            node = stack.pop().closed(at)
            if node is None or not stack:
                return node
            stack[-1].nodes.append(node)
            fresh = False
        elif not fresh or token["mark"]:
            return None
        elif token["string"]:
            stack[-1].nodes.append(_string(text, first, at))
            fresh = False
        elif _ATOM.fullmatch(part):
            stack[-1].nodes.append(Value(part, first, at))
            fresh = False
        else:
            return None
    return None


def _string(text: str, start: int, end: int) -> Value:
    if text[start] not in "\"'":
        start += 1
    inner = text[start + 1 : end - 1]
    if "\\" in inner:
        try:
            inner = json.loads(f'"{inner}"', strict=False) if text[start] == '"' else inner.replace("\\'", "'")
            inner = readable(inner)
        except ValueError:
            inner = text[start + 1 : end - 1]
    return Value(inner, start + 1, end - 1)
