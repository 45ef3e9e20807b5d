"""AgentDojo: a pipeline element that judges the web tools' calls before they run.

Put it in front of the executor, so that every call is judged with the conversation at hand:

    ToolsExecutionLoop([EgressGuard(gateway), ToolsExecutor(), llm])
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from posttrain.extras import need
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.verdict import Finding, Verdict
from posttrain.trajectory import Passage, Span

if TYPE_CHECKING:
    from agentdojo.functions_runtime import Function, FunctionsRuntime

ToRequest: TypeAlias = Callable[[Mapping[str, Any]], Request]


def _url(arguments: Mapping[str, Any]) -> str:
    url = str(arguments["url"])
    return url if "://" in url else f"https://{url}"


BROKEN = Verdict((Finding("deny", "gateway", "it broke while it judged; nothing was sent."),))
"""Stays where the gateway raised: AgentDojo makes an error of a tool of it, which would look like a safe run."""

WEB_TOOLS: dict[str, ToRequest] = {
    "get_webpage": lambda arguments: Request("GET", _url(arguments)),
    "download_file": lambda arguments: Request("GET", _url(arguments)),
    "post_webpage": lambda arguments: Request("POST", _url(arguments), body=str(arguments["content"]).encode()),
}
"""Tools of the slack suite to the requests they would make."""


def egress_guard(gateway: Gateway, tools: Mapping[str, ToRequest] = WEB_TOOLS) -> Any:
    """The pipeline element. It keeps the verdicts in `verdicts`, newest last.

    Args:
        gateway: Judges and logs. The suites' tools are simulated, so nothing is sent.
        tools: Name to the request that a call would make.
    """
    base = need("agentdojo").agent_pipeline.BasePipelineElement

    class EgressGuard(base):
        name = "egress_guard"

        def __init__(self) -> None:
            self.verdicts: list[Verdict] = []

        def query(
            self, query: str, runtime: Any, env: Any = None, messages: Sequence[Any] = (), extra_args: Any = None
        ) -> tuple[str, Any, Any, Sequence[Any], dict[str, Any]]:
            guarded = _guarded(runtime, gateway, tools, passages_of(messages), self.verdicts)
            return query, guarded, env, messages, extra_args or {}

    return EgressGuard()


def _guarded(
    runtime: FunctionsRuntime,
    gateway: Gateway,
    tools: Mapping[str, ToRequest],
    passages: Sequence[Passage],
    verdicts: list[Verdict],
) -> FunctionsRuntime:
    """The same functions, of which those that send ask first."""
    functions = [
        _asking(function, tools[name], gateway, passages, verdicts) if name in tools else function
        for name, function in runtime.functions.items()
    ]
    return type(runtime)(functions)


def _asking(
    function: Function, to_request: ToRequest, gateway: Gateway, passages: Sequence[Passage], verdicts: list[Verdict]
) -> Function:
    mine = getattr(function.run, "gateway", None) is gateway
    plain = function.run.unguarded if mine else function.run  # type: ignore[attr-defined]

    def run(*args: Any, **arguments: Any) -> Any:
        verdicts.append(BROKEN)
        verdict, goal = asyncio.run(gateway.admit(to_request(arguments), passages))
        verdicts[-1] = verdict
        if goal is None:
            raise PermissionError(str(verdict))
        return plain(*args, **arguments)

    run.unguarded, run.gateway = plain, gateway  # type: ignore[attr-defined]
    return function.model_copy(update={"run": run})


def passages_of(messages: Sequence[Any]) -> list[Passage]:
    """AgentDojo's messages as passages: what tools gave back is untrusted, and so is what the model said."""
    found = []
    for index, message in enumerate(messages):
        source = f"tool:{message['tool_call'].function}" if message["role"] == "tool" else message["role"]
        for part, block in enumerate(message["content"] or ()):
            text = block.get("content") or ""
            found.append(Passage(Span(source, index, f"content[{part}]", 0, len(text)), text))
    return found
