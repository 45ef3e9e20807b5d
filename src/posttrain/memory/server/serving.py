"""A server from its start to its end, which finishes what was begun."""

from __future__ import annotations

from collections.abc import Callable

from posttrain.memory.memory import Memory
from posttrain.memory.server import stdio
from posttrain.memory.server.app import Door, app
from posttrain.memory.server.mcp_server import server
from posttrain.memory.server.rights import Rights
from posttrain.memory.server.tools import Tools
from posttrain.serve import serving, until_stopped


async def over_http(memory: Memory, door: Door, port: int, listening: Callable[[int], None]) -> None:
    """MCP and the JSON API, until SIGINT or SIGTERM.

    Args:
        memory: To serve; whoever opened it closes it.
        door: Who comes in.
        port: To listen on; 0 takes a free one.
        listening: Is told the port.
    """
    tools = Tools(memory)
    try:
        async with serving(app(tools, door), door.host, port) as found:
            listening(found)
            await until_stopped(_nothing)
    finally:
        tools.close()


async def over_stdio(memory: Memory, rights: Rights, limit: int) -> None:
    """MCP for the program at the other end of standard input and output, until the input ends or a signal comes.

    Args:
        memory: To serve; whoever opened it closes it.
        rights: Of that program.
        limit: Bytes of one message.
    """
    tools = Tools(memory)
    try:
        await stdio.serve(server(tools, lambda _: rights), limit)
    finally:
        tools.close()


async def _nothing() -> None:
    """Leaving the context ends what runs."""
