"""Any `Chat` in the model's place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from agentdojo.agent_pipeline import BasePipelineElement
from agentdojo.functions_runtime import Function, FunctionCall
from agentdojo.types import ChatAssistantMessage, MessageContentBlock, text_content_block_from_string

from posttrain.bench.agentdojo.agents import Agent
from posttrain.chat import Chat
from posttrain.trajectory import Malformed, Message, tool_calls

TURNS = 15
"""AgentDojo's own bound."""


@contextmanager
def model(chat: Chat, temperature: float | None = 0.0) -> Iterator[Agent]:
    """A model as an agent; its connections live as long as the context.

    Args:
        chat: The model.
        temperature: None is the model's own.
    """
    with asyncio.Runner() as loop:
        element = ChatElement(chat, loop, temperature)
        name = chat.name if temperature is None else f"{chat.name}, temperature {temperature:g}"
        yield Agent(name, lambda _: element, TURNS)


class ChatElement(BasePipelineElement):
    """Asks a `Chat` for the next message.

    Args:
        chat: The model.
        loop: Where its calls run; one for all, since connections belong to it.
        temperature: None is the model's own.
    """

    def __init__(self, chat: Chat, loop: asyncio.Runner, temperature: float | None = 0.0) -> None:
        self.name = chat.name
        self.chat = chat
        self.loop = loop
        self.temperature = temperature

    def query(
        self, query: str, runtime: Any, env: Any = None, messages: Sequence[Any] = (), extra_args: Any = None
    ) -> tuple[str, Any, Any, Sequence[Any], dict[str, Any]]:
        """Add the model's reply.

        Raises:
            ValueError: It asks for a call whose arguments cannot be read.
        """
        tools = [described(function) for function in runtime.functions.values()]
        asked = self.chat([to_openai(message) for message in messages], tools=tools, temperature=self.temperature)
        reply = from_openai(self.loop.run(asked).message, f"call-{len(messages)}")
        return query, runtime, env, [*messages, reply], extra_args or {}


def described(function: Function) -> dict[str, Any]:
    """A tool in the OpenAI form."""
    schema = function.parameters.model_json_schema()
    return {
        "type": "function",
        "function": {"name": function.name, "description": function.description, "parameters": schema},
    }


def to_openai(message: Any) -> Message:
    """AgentDojo's message in the OpenAI form; of a call that failed the model reads the error."""
    text = "\n".join(block["content"] for block in message["content"] or () if block["type"] == "text")
    role = message["role"]
    if role == "tool":
        name, identity = message["tool_call"].function, message["tool_call_id"]
        return {"role": role, "tool_call_id": identity, "name": name, "content": message["error"] or text}
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    return {"role": role, "content": text} | ({"tool_calls": calls} if calls else {})


def _call(call: FunctionCall) -> dict[str, Any]:
    function = {"name": call.function, "arguments": json.dumps(dict(call.args))}
    return {"id": call.id, "type": "function", "function": function}


def from_openai(message: Message, fallback: str) -> ChatAssistantMessage:
    """A reply as AgentDojo's message.

    Args:
        message: In the OpenAI form.
        fallback: Names calls to which the model gave no id.

    Raises:
        ValueError: The arguments of a call cannot be read.
    """
    content, calls = message.get("content"), []
    for number, call in enumerate(tool_calls(message)):
        if isinstance(call, Malformed):
            raise ValueError(call.because)
        identity = call.id or f"{fallback}-{number}"
        calls.append(FunctionCall(function=call.name, args=dict(call.arguments), id=identity))
    blocks: list[MessageContentBlock] | None = None if content is None else [text_content_block_from_string(content)]
    return ChatAssistantMessage(role="assistant", content=blocks, tool_calls=calls or None)
