"""A forward proxy: whoever sets HTTPS_PROXY and HTTP_PROXY to it is behind the gateway.

A request is judged and written to the log, its host is resolved here, and the address that was checked is connected to.

    CONNECT     host, port and session are judged; on any port the tunnel must begin with a TLS ClientHello that names
                the same host (SNI), or it is closed. What follows is encrypted: contents and redirects are not seen.
    plain HTTP  is judged whole: URL, headers, body, and redirects as those who follow them come back.

A denial is 403 with the verdict as JSON. When the log cannot be written, everything is 503 until it can. Responses are
passed on as they come; `limits.response` is for those who call the gateway itself.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from posttrain.guard.egress.door import Door
from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.hosts import Target
from posttrain.guard.egress.judge_socket import JudgeSocket
from posttrain.guard.egress.proxy_client import Client
from posttrain.guard.egress.relay import Wire
from posttrain.serve import check_address, not_listening

BACKLOG = 2048
"""Connections that wait to be accepted."""
GRACE = 5.0
"""Seconds in which a stop lets requests end."""


class Proxy:
    """Serves while its context is open.

    Args:
        gateway: Judges and logs.
        host: To listen on; beyond this machine a token is needed.
        port: 0 takes a free one; afterwards it is the one taken.
        token: Password of Proxy-Authorization, whose user names the session.
        mitm_socket: Where the add-on for mitmproxy asks; see `judge_socket.py`.
        session: Of all requests; empty lets clients name theirs, which a client that wants to leak can use.
        listener: A socket that listens already, in place of host and port.
    """

    def __init__(
        self,
        gateway: Gateway,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        mitm_socket: Path | None = None,
        *,
        session: str = "",
        listener: socket.socket | None = None,
    ) -> None:
        check_address(host, token)
        self.gateway, self.host, self.port, self.token, self.session = gateway, host, port, token, session
        self.door = Door(gateway)
        self.limits = gateway.policy.limits
        self.judge_socket = None if mitm_socket is None else JudgeSocket(self.door, mitm_socket, session)
        self.listener = listener
        self.clients: set[Client] = set()

    @property
    def blind(self) -> str:
        """What it cannot see, in one sentence."""
        if self.judge_socket is not None:
            return f"contents of HTTPS for clients of a mitmproxy with the add-on on {self.judge_socket.path}."
        return (
            "of HTTPS the host alone: secrets, entropy and redirects are not judged there, nor is provenance anywhere. "
            "Contents need mitmproxy with the add-on (--judge-socket)."
        )

    async def __aenter__(self) -> Proxy:
        loop = asyncio.get_running_loop()
        where: dict[str, Any] = {"sock": self.listener} if self.listener else {"host": self.host, "port": self.port}
        if self.judge_socket is not None:
            await self.judge_socket.start()
        try:
            self.server = await loop.create_server(lambda: Client(self), backlog=BACKLOG, **where)
        except OSError as error:
            if self.judge_socket is not None:
                await self.judge_socket.stop()
            raise not_listening(self.host, self.port, error) from error
        self.port = self.server.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self, grace: float = GRACE) -> None:
        """Accept no more, let what runs end for `grace` seconds, then cut it off."""
        self.server.close()
        for client in list(self.clients):
            if client.idle:
                client.close()
        end = asyncio.get_running_loop().time() + grace
        while self.clients and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        tasks = [client.task for client in self.clients if client.task is not None]
        for client in list(self.clients):
            client.abort()
        for task in (*tasks, self._sweeper):
            task.cancel()
        await asyncio.gather(*tasks, self._sweeper, return_exceptions=True)
        if self.judge_socket is not None:
            await self.judge_socket.stop()

    async def connect(self, goal: Target) -> Wire:
        """A connection to the address that was checked.

        Raises:
            Refused: There is no such address.
            OSError: Nobody answers there.
        """
        addresses = await self.gateway.addresses(goal)
        loop, mapped = asyncio.get_running_loop(), self.gateway.transport.connect
        failed = OSError(f"{goal.host} has no address.")
        async with asyncio.timeout(self.limits.seconds):
            for address in addresses:
                there = (address, goal.port) if mapped is None else await mapped(address, goal.port, goal.host)
                try:
                    return (await loop.create_connection(Wire, *there))[1]
                except OSError as error:
                    failed = error
        raise failed

    async def _sweep(self) -> None:
        """Close who has been silent for too long, or too slow with a request."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self.limits.seconds / 4))
            now = loop.time()
            for client in [client for client in self.clients if client.until(self.limits.silence) < now]:
                client.abort()
