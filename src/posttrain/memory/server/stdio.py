"""MCP over standard input and output, one JSON line each way; what was asked is answered before it ends.

The end comes when the input ends, or with SIGINT or SIGTERM. While it runs, whatever else is printed goes to standard
error, so that the output holds the protocol alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.shared.message import SessionMessage

T = TypeVar("T")

GRACE = 5.0
"""Seconds that answers may take at the end."""


async def serve(server: Server[Any], limit: int) -> None:
    """Serve one client.

    Args:
        server: Of the official SDK.
        limit: Bytes of one line; a longer one is refused.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    with _wires() as (wire_in, wire_out):
        await _Client(wire_in, wire_out, limit).serve(server, stop)


class _Client:
    """The two pipes, and the requests that are not answered yet."""

    def __init__(self, wire_in: int, wire_out: int, limit: int) -> None:
        self.wire_in, self.wire_out, self.limit = wire_in, wire_out, limit
        self.open: set[str | int] = set()
        self.gone = False
        self.answered, self.writing = asyncio.Condition(), asyncio.Lock()
        self.to_server, self.read = anyio.create_memory_object_stream[SessionMessage | Exception]()
        self.write, self.from_server = anyio.create_memory_object_stream[SessionMessage]()

    async def serve(self, server: Server[Any], stop: asyncio.Event) -> None:
        """Until the input ends, or `stop`."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._write_all)
            group.start_soon(self._read_all, stop)
            await server.run(self.read, self.write, server.create_initialization_options())

    async def _read_all(self, stop: asyncio.Event) -> None:
        async with self.to_server:
            async for line in _lines(self.wire_in, self.limit, stop):
                try:
                    if line is None:
                        raise ValueError(f"the line is longer than {self.limit} bytes")
                    message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError as error:
                    because = str(error) if line is None else "the line is no JSON-RPC message"
                    await self._refuse(because)
                    continue
                self._note(message)
                await self.to_server.send(SessionMessage(message))
            with anyio.move_on_after(GRACE):
                async with self.answered:
                    await self.answered.wait_for(lambda: not self.open)

    def _note(self, message: types.JSONRPCMessage) -> None:
        """Remember what is to be answered; a request that the client gives up is not."""
        if isinstance(message, types.JSONRPCRequest):
            self.open.add(message.id)
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self.open.discard((message.params or {}).get("requestId", ""))

    async def _refuse(self, because: str) -> None:
        error = types.ErrorData(code=types.PARSE_ERROR, message=because)
        await self._send(types.JSONRPCError(jsonrpc="2.0", id=None, error=error))

    async def _write_all(self) -> None:
        async for each in self.from_server:
            await self._send(each.message)

    async def _send(self, message: types.JSONRPCMessage) -> None:
        line = message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        async with self.writing:
            if not self.gone:
                try:
                    await _apart(lambda: _put(self.wire_out, line))
                except ConnectionError:
                    self.gone = True  # whoever asked reads no more answers
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
            self.open.discard(message.id)
        async with self.answered:
            self.answered.notify_all()


async def _lines(wire: int, limit: int, stop: asyncio.Event) -> AsyncIterator[bytes | None]:
    """Lines without their ends until the input ends or `stop` is set; None for one that is too long."""
    buffer, skipping = bytearray(), False
    stopped = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        reading = asyncio.ensure_future(_apart(lambda: os.read(wire, 1 << 16)))
        await asyncio.wait({reading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            break
        chunk = reading.result()
        if not chunk:
            if buffer.strip():
                yield bytes(buffer)
            break
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            buffer += part
            if skipping or len(buffer) > limit:
                yield None
            elif buffer.strip():
                yield bytes(buffer)
            buffer, skipping = bytearray(), False
        if not skipping:
            buffer += rest
            if len(buffer) > limit:
                buffer, skipping = bytearray(), True
    stopped.cancel()


async def _apart(work: Callable[[], T]) -> T:
    """Run in a thread that does not hold up the end of the process, as a read of a silent pipe never returns."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: OSError | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True).start()
    return await future


def _put(wire: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(wire, rest) :]


@contextmanager
def _wires() -> Iterator[tuple[int, int]]:
    """The standard input and output for the protocol alone: meanwhile 0 reads nothing, and 1 is standard error."""
    wire_in, wire_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    try:
        yield wire_in, wire_out
    finally:
        os.dup2(wire_out, 1)
