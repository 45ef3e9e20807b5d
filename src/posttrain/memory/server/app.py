"""Both ways in, MCP at /mcp and the JSON API at /v1, behind one door: origin, token, length of the body."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from posttrain.memory.server.json_api import RIGHTS, failure, routes
from posttrain.memory.server.mcp_server import server
from posttrain.memory.server.rights import Keys, Rights
from posttrain.memory.server.tools import Tools
from posttrain.serve import BodyLimit, check_address

LIMIT = 64 * 2**20
"""Bytes of a request: an observation of 5 MB takes up to six times that as JSON."""


@dataclass(frozen=True)
class Door:
    """Who comes in over HTTP."""

    host: str = "127.0.0.1"
    """That is listened on."""
    keys: Keys | None = None
    """Tokens; None lets in every program of this machine."""
    rights: Rights = field(default_factory=Rights)
    """Of those that need no token."""
    origins: tuple[str, ...] = ()
    """Of the web pages that may send requests, such as `http://localhost:6274`; others may not."""
    limit: int = LIMIT
    """Bytes of a request."""

    def __post_init__(self) -> None:
        check_address(self.host, "held" if self.keys else None)
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise ValueError(f"{origin!r} is no origin; write scheme, host and port, as in http://localhost:6274.")


def app(tools: Tools, door: Door) -> Starlette:
    """The application; it serves once.

    Args:
        tools: What it offers.
        door: Who comes in.
    """
    # Each request stands for itself, so that no session outlives the token that opened it, and no stream stays open.
    manager = StreamableHTTPSessionManager(
        server(tools, lambda request: request.scope[RIGHTS]),
        stateless=True,
        json_response=True,
        max_request_body_size=door.limit,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    return Starlette(
        routes=[Route("/mcp", StreamableHTTPASGIApp(manager), methods=["POST"]), *routes(tools)],
        middleware=[Middleware(_Guard, door), Middleware(BodyLimit, door.limit)],
        lifespan=lifespan,
    )


class _Guard:
    """ASGI middleware: refuses web pages and strangers, and says what the others may do."""

    def __init__(self, app: Any, door: Door) -> None:
        self.app = app
        self.door = door

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass on with rights, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        refusal = self._strange(_all(headers, b"origin"), _all(headers, b"host"))
        rights = None if refusal else self._rights(_all(headers, b"authorization"))
        if rights is None and refusal is None and scope["path"] != "/healthz":
            refusal = failure(401, "A bearer token is needed.", {"WWW-Authenticate": "Bearer"})
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self.app({**scope, RIGHTS: rights}, receive, send)

    def _strange(self, origins: Collection[bytes], hosts: Collection[bytes]) -> Any:
        """Why a request may come from a web page that its user never meant to let in."""
        if any(origin.decode("latin-1") not in self.door.origins for origin in origins):
            return failure(403, "Requests of web pages are refused, unless --origin names the page's origin.")
        if self.door.keys is None and not all(_here(host.decode("latin-1")) for host in hosts):
            return failure(403, "The Host header must be this machine's, such as 127.0.0.1 or localhost.")
        return None

    def _rights(self, given: Collection[bytes]) -> Rights | None:
        if self.door.keys is None:
            return self.door.rights
        if len(given) != 1:
            return None
        kind, _, token = next(iter(given)).partition(b" ")
        return self.door.keys.find(token) if kind.lower() == b"bearer" else None


def _all(headers: Collection[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for each, value in headers if each == name]


def _here(host: str) -> bool:
    """Whether a Host header names this machine by a name that no other can take."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    try:
        return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
