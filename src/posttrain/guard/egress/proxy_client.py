"""One client of the proxy, from its first byte to its last."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from posttrain.files import WriteError
from posttrain.guard.egress import tls
from posttrain.guard.egress.facts import Request, Sees
from posttrain.guard.egress.forward import exchange
from posttrain.guard.egress.hosts import Refused, Target
from posttrain.guard.egress.proxy_answers import CONNECTED, answer, denial
from posttrain.guard.egress.proxy_http import Bad, Reader, read_head
from posttrain.guard.egress.relay import Wire, join
from posttrain.guard.verdict import Finding

if TYPE_CHECKING:
    from posttrain.guard.egress.proxy import Proxy

LINGER = 5.0
"""Seconds in which a client that is still sending may read why it was refused."""


class Client(Wire):
    """One connection to the proxy: requests, of which the last may become a tunnel."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self.proxy = proxy
        self.task: asyncio.Task[None] | None = None
        self.upstream: Wire | None = None
        self.deadline: float | None = None
        """Of the loop's clock; None while only silence counts."""
        self.idle = True
        """Whether it is between two requests, or after the last."""
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it, unless there are too many."""
        super().connection_made(transport)
        most = self.proxy.limits.connections
        if len(self.proxy.clients) >= most:
            self.transport.write(answer(503, f"This proxy serves {most} clients at a time; come back later."))
            self.transport.close()
            return
        self.proxy.clients.add(self)
        self.task = self.loop.create_task(self._serve())
        self.task.add_done_callback(self._served)

    def data_received(self, data: bytes) -> None:
        """Keep or pass on bytes; those after a refusal are dropped."""
        if not self._refused:
            super().data_received(data)

    def eof_received(self) -> bool:
        """The client sends no more."""
        return not self._refused and super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self.proxy.clients.discard(self)
        if self.peer is None:
            self.hang_up()

    def until(self, seconds: float) -> float:
        """When it is to be cut off, if nothing comes for so many seconds."""
        if self.deadline is not None:
            return self.deadline
        return max(self.seen, self.upstream.seen if self.upstream else 0.0) + seconds

    def refuse(self, response: bytes) -> None:
        """Answer, end, and read on a little: closing at once would take the answer away from who is still sending."""
        self._refused = self.idle = True
        self.buffer.clear()
        self.hang_up()
        self.deadline = self.loop.time() + min(LINGER, self.proxy.limits.seconds)
        if self.lost:
            return
        self.transport.write(response)
        self.transport.resume_reading()
        if self.ended:
            self.transport.close()
        else:
            self.end()

    def hang_up(self) -> None:
        """Leave the server."""
        if self.upstream is not None:
            self.upstream.transport.abort()
            self.upstream = None

    def _served(self, task: asyncio.Task[None]) -> None:
        """Nothing is left open behind a task that failed."""
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self.abort()
            self.hang_up()
        if error is not None:
            self.loop.call_exception_handler({"message": "a connection of the proxy failed", "exception": error})

    async def _serve(self) -> None:
        """Answer requests until one becomes a tunnel or the client leaves."""
        try:
            while await self._one():
                pass
        except Bad as bad:
            self.refuse(answer(bad.status, str(bad)))
        except WriteError as error:
            self.refuse(answer(503, str(error)))

    async def _one(self) -> bool:
        """One request; whether another can follow."""
        limits = self.proxy.limits
        self.idle, self.deadline = True, self.loop.time() + limits.seconds
        reader = Reader(self, limits.head, limits.body)
        event = await reader.head()
        self.idle = False
        if event is None:
            self.transport.close()
            return False
        head = read_head(event, self.proxy.token, self.proxy.session)
        if head.method == "CONNECT":
            await self._tunnel(head.request())
            return False
        self.deadline = self.loop.time() + limits.seconds
        request = head.request(await reader.body())
        goal = await self._admitted(request, "all")
        if self.upstream is None or goal is None:
            return False
        self.deadline = None
        again = await exchange(self, self.upstream, reader.http, request, goal, self.proxy.door.chains)
        self.hang_up()
        return again

    async def _tunnel(self, request: Request) -> None:
        """CONNECT: join two connections, once the client has said in TLS whom it wants."""
        goal = await self._admitted(request, "host")
        if self.upstream is None or goal is None:
            return
        self.deadline = self.loop.time() + self.proxy.limits.seconds
        await self.write(CONNECTED)
        problem, alert = await self._greeting(goal)
        if self.lost:
            return
        if problem:
            finding = Finding("deny", "destinations.sni", problem)
            verdict = self.proxy.door.refuse(request, goal, "host", finding, self.proxy.gateway.policy.mode)
            if verdict.action != "allow":
                self.refuse(alert)
                return
        self.deadline = None
        join(self, self.upstream)

    async def _greeting(self, goal: Target) -> tuple[str, bytes]:
        """What is wrong with the first bytes in a tunnel, and what to answer in TLS; empty if nothing is."""
        try:
            while (hello := tls.read(bytes(self.buffer))) is None:
                if not await self.more():
                    return "it ended before its TLS handshake was whole.", b""
        except tls.NotTLS as error:
            return f"a tunnel must be TLS, and {error}", b""
        problem = tls.mismatch(hello, goal.host)
        return problem, tls.UNKNOWN_NAME if problem else b""

    async def _admitted(self, request: Request, sees: Sees) -> Target | None:
        """Judge a request and connect to where it may go, as `upstream`; answer it where it may not."""
        self.deadline = float("inf")  # a person may be asked, and connecting has its own limit
        verdict, goal = await self.proxy.door.admit(request, sees)
        if goal is None:
            self.refuse(denial(verdict))
            return None
        try:
            self.upstream = await self.proxy.connect(goal)
        except Refused as refused:
            finding = Finding("deny", "destinations.networks", str(refused))
            self.refuse(denial(self.proxy.door.refuse(request, goal, sees, finding)))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "no answer in time"
            self.refuse(answer(502, f"{goal.host}:{goal.port} cannot be reached: {reason}."))
        if self.lost:
            self.hang_up()
        return goal
