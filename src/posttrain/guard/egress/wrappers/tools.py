"""The gateway as a model's tools, and in front of tools that exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.gateway import Gateway, request_of
from posttrain.guard.egress.transport import TransportError
from posttrain.trajectory import Malformed, Message, ToolCall, passages, tool_calls

Tool: TypeAlias = Callable[..., Awaitable[Any]]

FETCH: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "fetch_url",
        "description": "Fetches a page.",
        "parameters": {
            "type": "object",
            "properties": {"url": {"type": "string"}},
            "required": ["url"],
        },
    },
}
HTTP: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "http_request",
        "description": "Sends an HTTP request.",
        "parameters": {
            "type": "object",
            "properties": {
                "method": {"type": "string"},
                "url": {"type": "string"},
                "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                "body": {"type": "string"},
            },
            "required": ["method", "url"],
        },
    },
}


class GatewayTools:
    """`fetch_url` and `http_request` for a model in the OpenAI form.

    Args:
        gateway: The way out.
        session: Whose account requests go to.
        length: Most characters of a page that go into the conversation.
    """

    descriptions = (FETCH, HTTP)

    def __init__(self, gateway: Gateway, session: str = "default", length: int = 8_000) -> None:
        self.gateway = gateway
        self.session = session
        self.length = length

    async def answer(self, messages: Sequence[Message]) -> list[Message]:
        """The results of the calls in the last message, each as a message of role `tool`; a denial says why."""
        found = []
        for call in tool_calls(messages[-1]):
            text = call.because if isinstance(call, Malformed) else await self._run(call, messages)
            found.append({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": text})
        return found

    async def _run(self, call: ToolCall, messages: Sequence[Message]) -> str:
        """One call's result as text."""
        if call.name not in {tool["function"]["name"] for tool in self.descriptions}:
            return f"There is no tool {call.name!r}."
        try:
            outcome = await self.gateway.request(request_of(call, self.session), passages(messages[:-1]))
        except (ValueError, TransportError) as error:
            return str(error)
        if not outcome.allowed or outcome.response is None:
            return f"Not {'followed' if outcome.verdicts[-1].hop else 'sent'}: {outcome}"
        return f"{outcome.response.status}\n{outcome.response.text[: self.length]}"


def guarded(
    tool: Tool, gateway: Gateway, request: Callable[[Mapping[str, Any]], Request], conversation: Sequence[Message] = ()
) -> Tool:
    """A tool of another library behind the gateway's rules: it runs only if the request it would make may leave.

    Args:
        tool: An async function that makes a request of its own.
        gateway: Judges and logs; it sends nothing here.
        request: From the tool's arguments to the request it will make.
        conversation: Messages, read anew at each call.
    """

    async def checked(**arguments: Any) -> Any:
        verdict, goal = await gateway.admit(request(arguments), passages(conversation))
        return await tool(**arguments) if goal is not None else f"Not sent: {verdict}"

    return checked
