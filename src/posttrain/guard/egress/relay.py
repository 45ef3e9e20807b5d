"""Connections that are read by hand until it is clear where they lead, and are then joined, byte for byte."""

from __future__ import annotations

import asyncio
from typing import Any

ROOM = 1 << 16
"""Bytes that wait unread before the sender is told to wait."""


class Wire(asyncio.Protocol):
    """One connection.

    First `more` waits for bytes in `buffer`. After `join` what comes goes straight to the other wire, slowed to the
    speed at which it is taken there; each direction ends by itself (half-close).
    """

    transport: Any = None

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.buffer = bytearray()
        self.ended = False
        """Whether the other side has sent its last byte."""
        self.lost = False
        """Whether the connection is gone."""
        self.peer: Wire | None = None
        self.seen = self.loop.time()
        """When bytes came last."""
        self._news: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, or keep them for whoever reads."""
        self.seen = self.loop.time()
        if self.peer is not None:
            self.peer.transport.write(data)
            return
        self.buffer += data
        if len(self.buffer) > ROOM:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The other side sends no more; it may still read."""
        self.ended = True
        self._wake()
        if self.peer is not None:
            self.peer.end()
            if self.peer.ended:
                self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; so is the one that it was joined to, once it has what was on the way."""
        self.ended = self.lost = True
        self._wake()
        self.resume_writing()
        if self.peer is not None:
            self.peer.transport.close() if exc is None else self.peer.transport.abort()

    def pause_writing(self) -> None:
        """The other side takes bytes too slowly."""
        if self.peer is not None:
            self.peer.transport.pause_reading()
        elif self._taken is None:
            self._taken = self.loop.create_future()

    def resume_writing(self) -> None:
        """The other side has taken most bytes."""
        if self.peer is not None:
            self.peer.transport.resume_reading()
        if self._taken is not None:
            taken, self._taken = self._taken, None
            if not taken.done():
                taken.set_result(None)

    async def more(self) -> bool:
        """Wait until the buffer has grown; False if it will not."""
        have = len(self.buffer)
        while len(self.buffer) == have and not self.ended:
            self.transport.resume_reading()
            self._news = self.loop.create_future()
            await self._news
        return len(self.buffer) > have

    def take(self) -> bytes:
        """What waits in the buffer."""
        found = bytes(self.buffer)
        self.buffer.clear()
        return found

    async def write(self, data: bytes) -> None:
        """Write, and wait while the other side takes bytes too slowly."""
        if not self.lost:
            self.transport.write(data)
        if self._taken is not None:
            await self._taken

    def end(self) -> None:
        """Send no more; to who is gone already there is nothing to end."""
        if self.transport.can_write_eof() and not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except OSError:
                self.transport.abort()

    def close(self) -> None:
        """Close this connection, and the one that it is joined to, once their bytes are written."""
        for wire in (self, self.peer):
            if wire is not None:
                wire.transport.close()

    def abort(self) -> None:
        """Close both at once."""
        for wire in (self, self.peer):
            if wire is not None:
                wire.transport.abort()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def join(one: Wire, other: Wire) -> None:
    """Let each get what the other sends, what waits in their buffers first."""
    one.peer, other.peer = other, one
    for wire, peer in ((one, other), (other, one)):
        wire.transport.resume_reading()
        if wire.buffer:
            peer.transport.write(wire.take())
        if wire.lost:
            peer.transport.close()
        elif wire.ended:
            peer.end()
    if one.ended and other.ended:
        one.close()
