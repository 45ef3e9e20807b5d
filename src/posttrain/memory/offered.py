"""What a model may call to look into one run: tools in the OpenAI form, and their arguments, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.memory.answer import Answer
from posttrain.memory.embedders import Space
from posttrain.memory.retrieval.ask import ask
from posttrain.memory.retrieval.scan import LANGUAGE, read, scan
from posttrain.memory.retrieval.walk import HOPS, timeline, why
from posttrain.memory.view import View
from posttrain.trajectory import Malformed, ToolCall, tool_calls


def _tool(name: str, description: str, required: Sequence[str], **properties: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in the OpenAI form."""
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TEXT = {"type": "string", "maxLength": 20_000}
TOOLS = (
    _tool(
        "ask",
        "Find the steps of the log that bear on a question in plain words.",
        ["question"],
        question=_TEXT,
        turns={"type": "integer", "minimum": 1, "maximum": 100},
    ),
    _tool(
        "timeline",
        "How the state of one thing changed, and which steps changed it; of all its attributes, or one.",
        ["entity"],
        entity=_TEXT,
        attribute=_TEXT,
    ),
    _tool(
        "why",
        "Which earlier steps made a step possible, so many causes back; all of them, or those that concern one thing.",
        ["turn"],
        turn={"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        entity=_TEXT,
        hops={"type": "integer", "minimum": 1, "maximum": HOPS},
    ),
    _tool(
        "scan",
        f"Count or list over every step of the log. The query is {LANGUAGE}.",
        ["query"],
        query={"type": "object"},
    ),
)
"""All of them."""
SCAN = TOOLS[-1:]
"""The scan alone."""
_KINDS = {"string": str, "integer": int, "object": dict}


def call_of(raw: Any) -> ToolCall | Malformed:
    """One call of an assistant's message, whatever the model wrote there."""
    function = raw.get("function") if isinstance(raw, dict) else None
    identity = str(raw.get("id") or "") if isinstance(raw, dict) else ""
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or "arguments" not in function:
        return Malformed("", identity, "This call has no function with a name and arguments.")
    return tool_calls({"tool_calls": [{"function": function, "id": identity}]})[0]


def check(tool: str, arguments: Mapping[str, Any], offered: Sequence[Mapping[str, Any]] = TOOLS) -> None:
    """Check a call.

    Raises:
        ValueError: The tool is not offered, or does not take these arguments, such as a query that is none; one
            sentence.
    """
    known = {each["function"]["name"]: each["function"]["parameters"] for each in offered}
    if tool not in known:
        raise ValueError(f"There is no tool {tool!r:.60} here; use {' or '.join(known)}.")
    properties = known[tool]["properties"]
    if unknown := [name for name in arguments if name not in properties]:
        raise ValueError(f"{tool} has no argument {unknown[0]!r:.60}; it has {', '.join(properties)}.")
    if missing := [name for name in known[tool]["required"] if name not in arguments]:
        raise ValueError(f"{tool} needs the argument {missing[0]}.")
    for name, value in arguments.items():
        kind = properties[name]["type"]
        told = json.dumps(value, default=str)[:60]
        if not isinstance(value, _KINDS[kind]) or isinstance(value, bool):
            raise ValueError(f"The argument {name} of {tool} is {told}; expected one {kind}.")
        least, most = properties[name].get("minimum", 0), properties[name].get("maximum", 0)
        if kind == "integer" and not least <= value <= most:
            raise ValueError(f"The argument {name} of {tool} is {told}; expected {least} to {most}.")
        if kind == "string" and len(value) > properties[name]["maxLength"]:
            raise ValueError(
                f"The argument {name} of {tool} is too long; give at most {_TEXT['maxLength']} characters."
            )
    if tool == "scan":
        read(arguments["query"])


def look(view: View, tool: str, given: Mapping[str, Any], space: Space | None = None) -> Answer:
    """Carry out a call that was checked.

    Args:
        view: The run.
        tool: Of `TOOLS`.
        given: Its arguments.
        space: For `ask`; see there.
    """
    if tool == "ask":
        return ask(view, given["question"], turns=given["turns"], space=space)
    if tool == "timeline":
        return timeline(view, given["entity"], given.get("attribute"))
    if tool == "why":
        return why(view, given["turn"], given.get("entity"), given.get("hops", 2))
    return scan(view, given["query"])
