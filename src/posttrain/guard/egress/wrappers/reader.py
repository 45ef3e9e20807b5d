"""Capability isolation: what reads untrusted pages has no tools, what has tools reads no untrusted page.

The reader sees a page and fills in a form; only the form's typed fields go on. A text field is cut to a length and
loses whatever could name a destination.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from posttrain.chat import Chat
from posttrain.trajectory import Passage

Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Field:
    """One thing that the reader may tell."""

    name: str
    what: str
    """For the reader."""
    kind: Literal["text", "number", "yes or no", "choice"] = "text"
    choices: tuple[str, ...] = ()
    """Of a choice."""
    length: int = 300
    """Most characters of a text."""

    def __post_init__(self) -> None:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError(f"field {self.name!r}: a choice needs choices, and only a choice has them.")


@dataclass(frozen=True)
class Reader:
    """Reads pages with a model that can do nothing else."""

    chat: Chat
    fields: tuple[Field, ...] = field(default=(Field("summary", "what the page is about, in one or two sentences"),))

    async def read(self, page: Sequence[Passage], question: str = "") -> dict[str, Value]:
        """The form, filled in from a page; a field that was not answered as asked is None.

        Args:
            page: A preview.
            question: What the user wants to know.
        """
        lines = "\n".join(f"- {one.name}: {one.what} ({_kind(one)})" for one in self.fields)
        text = "\n".join(f"{passage.span.path}: {passage.text}" for passage in page)
        messages = [
            {"role": "system", "content": f"Answer with one JSON object, from the page alone:\n{lines}"},
            {"role": "user", "content": f"{question}\n\nThe page:\n{text}".strip()},
        ]
        reply = await self.chat(messages, tools=())
        return filled(reply.text, self.fields)


def filled(text: str, fields: Sequence[Field]) -> dict[str, Value]:
    """What a reader's answer says, field by field, and nothing else of it."""
    start, end = text.find("{"), text.rfind("}")
    try:
        given: Any = json.loads(text[start : end + 1]) if start >= 0 else {}
    except (ValueError, RecursionError):
        given = {}
    values = given if isinstance(given, dict) else {}
    return {one.name: _value(values.get(one.name), one) for one in fields}


def _value(value: Any, one: Field) -> Value:
    """A value that has the field's kind, or None."""
    if one.kind == "yes or no":
        return value if isinstance(value, bool) else None
    if one.kind == "number":
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    if one.kind == "choice":
        return value if value in one.choices else None
    return " ".join(map(_harmless, value.split()))[: one.length]


def _harmless(word: str) -> str:
    """A word without destinations. A long one that may hold some goes as a whole, as searching it takes long."""
    if not _SIGN.search(word):
        return word
    return "[removed]" if len(word) > LONGEST_WORD else _DESTINATION.sub("[removed]", word)


LONGEST_WORD = 256
_SIGN = re.compile(r"[:@.。．｡]")
_DESTINATION = re.compile(
    r"""[a-z][a-z0-9+.\-]*:\S+ | \S*://\S* | \S+@\S+ | \[[0-9a-f:.]+\]
      | (?:[\w\-]+[.。．｡])+[\w\-]{2,}(?::\d+)?(?:/\S*)?
      | \d{1,3}(?:[.。．｡]\d{1,3}){3}(?::\d+)?(?:/\S*)?""",
    re.IGNORECASE | re.VERBOSE,
)
"""URLs, addresses and names: anything a sender could take for a place to send to."""


def _kind(one: Field) -> str:
    kinds = {"text": f"text, at most {one.length} characters", "number": "a number", "yes or no": "true or false"}
    return kinds.get(one.kind, f"one of {', '.join(one.choices)}")
