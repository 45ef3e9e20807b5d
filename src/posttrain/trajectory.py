"""What every room hands to the next: messages, calls of tools, and spans that say where a text came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Message: TypeAlias = dict[str, Any]
"""A message in the OpenAI form: `role`, `content` and, where they apply, `tool_calls`, `tool_call_id`, `name`."""

Effect: TypeAlias = Literal["read", "write", "send"]
"""What a tool does: it brings text into the context, changes the user's world, or carries text out."""


@dataclass(frozen=True)
class Span:
    """A stretch of text in a conversation, and who wrote it."""

    source: str
    """`system`, `user`, `assistant`, `tool:NAME`, or `preview:URL`."""
    message: int
    """Index of the message in the conversation."""
    path: str
    """The part of the message: `content`, or a field such as `title` or `og:description`."""
    start: int
    """First character, within that part."""
    end: int
    """One beyond the last character."""

    def __str__(self) -> str:
        return f"{self.source} (message {self.message}, {self.path}, characters {self.start} to {self.end})"


@dataclass(frozen=True)
class Passage:
    """A span with its text."""

    span: Span
    text: str

    @classmethod
    def whole(cls, text: str, source: str, message: int = 0, path: str = "content") -> Passage:
        """All of one part of a message."""
        return cls(Span(source, message, path, 0, len(text)), text)

    def find(self, needle: str) -> Iterator[Span]:
        """Where a text occurs in it, case ignored."""
        # This capital alone becomes two characters in lower case, which would move all places after it.
        text, wanted = (each.replace("\u0130", "i").lower() for each in (self.text, needle))
        at = text.find(wanted) if wanted else -1
        while at >= 0:
            start = self.span.start + at
            yield Span(self.span.source, self.span.message, self.span.path, start, start + len(wanted))
            at = text.find(wanted, at + 1)


@dataclass(frozen=True)
class ToolCall:
    """One call of a tool that a model asked for."""

    name: str
    arguments: Mapping[str, Any]
    effects: frozenset[Effect] = frozenset()
    """What the tool does; declared where the tool is, never by the model."""
    id: str = ""
    """The model's name for the call; the result goes back under it."""


@dataclass(frozen=True)
class Malformed:
    """A call whose arguments cannot be read; it is answered with the sentence, not run."""

    name: str
    id: str
    because: str


def tool_calls(message: Message, effects: Mapping[str, frozenset[Effect]] | None = None) -> list[ToolCall | Malformed]:
    """The calls in an assistant's message.

    Args:
        message: In the OpenAI form; arguments are a JSON text or already an object.
        effects: Tool to what it does; a tool that is not listed is taken to do everything.
    """
    known, found = effects or {}, []
    for call in message.get("tool_calls") or ():
        name, given, identity = call["function"]["name"], call["function"]["arguments"], call.get("id", "")
        try:
            arguments = json.loads(given) if isinstance(given, str) else given
        except (ValueError, RecursionError) as error:
            found.append(Malformed(name, identity, f"The arguments of {name} are no JSON: {error}."))
            continue
        if not isinstance(arguments, dict):
            found.append(Malformed(name, identity, f"The arguments of {name} must be one JSON object."))
            continue
        found.append(ToolCall(name, arguments, known.get(name, EVERY_EFFECT), identity))
    return found


EVERY_EFFECT: frozenset[Effect] = frozenset(("read", "write", "send"))


def passages(messages: Sequence[Message]) -> list[Passage]:
    """A conversation's texts with their sources.

    `user`, `system` (or `developer`) and `assistant` are their roles; a tool's result is `tool:NAME`. A message may
    bring finer sources along under `passages`, as previews do; then those are taken instead.
    """
    found = []
    for index, message in enumerate(messages):
        if given := message.get("passages"):
            found += [Passage(Span(p.span.source, index, p.span.path, p.span.start, p.span.end), p.text) for p in given]
            continue
        role = message["role"]
        source = f"tool:{message.get('name', 'unknown')}" if role == "tool" else role.replace("developer", "system")
        found += [Passage.whole(text, source, index, path) for path, text in _texts(message.get("content"))]
    return found


def _texts(content: Any) -> Iterator[tuple[str, str]]:
    """Paths and texts of a message's content: a text, or parts of which some are texts."""
    if isinstance(content, str):
        yield "content", content
    for index, part in enumerate(content if isinstance(content, list) else ()):
        text = part.get("text", part.get("content")) if isinstance(part, dict) else None
        if isinstance(text, str):
            yield f"content[{index}]", text
