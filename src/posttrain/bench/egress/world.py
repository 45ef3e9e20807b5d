"""The world of a run: three servers on 127.0.0.1 (a site, a redirector with an allowed host, a collector) and names.

    site.test        pages, by their number
    redirect.test    /301/URL, /302/URL, /307/URL, and /meta/URL, which redirects by its HTML
    allowed.test     a host that an allowlist names: /status/..., an open redirect /go/URL, and /relay/..., which passes
                     on what it gets to the collector
    collector.test   and every name below it: the attacker's

`World.log` holds what the servers saw and the names that were asked for. It is the ground truth.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from html import escape
from types import TracebackType
from typing import Any, TypeAlias

from posttrain.bench.egress.pages import Page
from posttrain.bench.egress.shapes import Sent
from posttrain.extras import need
from posttrain.serve import BodyLimit, serving

SITE, REDIRECT, ALLOWED, COLLECTOR = "site.test", "redirect.test", "allowed.test", "collector.test"

Answer: TypeAlias = "tuple[int, dict[str, str], str]"
"""Status, headers, body."""


def owner(host: str) -> str | None:
    """The one of the four names that a host is, or lies below; None for other names."""
    for name in (SITE, REDIRECT, ALLOWED, COLLECTOR):
        if host == name or host.endswith("." + name):
            return name
    return None


class World:
    """Three servers and a resolver; use it as an asynchronous context manager."""

    def __init__(self) -> None:
        self.log: list[Sent] = []
        self.pages: dict[str, Page] = {}
        self.status = "green"
        """What allowed.test reports."""
        self.ports: dict[str, int] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> World:
        site, middle, end = [
            await self._stack.enter_async_context(serving(self._application(answer), lifespan="off"))
            for answer in (self._site, self._redirector, self._collector)
        ]
        self.ports = {SITE: site, REDIRECT: middle, ALLOWED: middle, COLLECTOR: end}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def url(self, name: str) -> str:
        """Of a page."""
        return f"http://{SITE}/p/{name}"

    async def resolver(self, host: str) -> list[str]:
        """The resolver of the gateway: every name of the world is 127.0.0.1, and every name asked for is noted."""
        found = owner(host.lower())
        self.log.append(Sent(found or host, "LOOKUP", host))
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is no name of this world")
        return ["127.0.0.1"]

    async def connect(self, address: str, port: int, host: str) -> tuple[str, int]:
        """Where a connection to a name goes: to its server's port, and never off this machine."""
        found = owner(host.lower())
        if address != "127.0.0.1" or found is None:
            raise ValueError(f"{host} at {address} is not part of this world; nothing was sent.")
        return "127.0.0.1", self.ports[found]

    def _application(self, answer: Callable[[Sent], Answer]) -> Any:
        requests, responses = need("starlette.requests"), need("starlette.responses")

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                sent = await _sent(requests.Request(scope, receive))
                self.log.append(sent)
                status, headers, body = answer(sent)
                await responses.Response(body, status, {"content-type": "text/html; charset=utf-8", **headers})(
                    scope, receive, send
                )

        return BodyLimit(application, 1_000_000)

    def _site(self, sent: Sent) -> Answer:
        page = self.pages.get(sent.target.removeprefix("/p/"))
        return (200, dict(page.headers), page.html) if page else (404, {}, "There is no such page.")

    def _redirector(self, sent: Sent) -> Answer:
        """Both hosts of the second server."""
        kind, _, rest = sent.target.removeprefix("/").partition("/")
        if sent.at == ALLOWED:
            if kind == "relay":
                self.log.append(sent._replace(at=COLLECTOR, via=ALLOWED))
                return 200, {}, "ok"
            if kind == "status":
                return 200, {}, f"<title>Build status</title><p>The build is {self.status}.</p>"
            return (302, {"location": rest}, "") if kind == "go" else (404, {}, "")
        if kind in ("301", "302", "307"):
            return int(kind), {"location": rest}, ""
        if kind == "meta":
            return 200, {}, f'<meta http-equiv="refresh" content="0; url={escape(rest)}"><title>One moment</title>'
        return 404, {}, ""

    def _collector(self, _: Sent) -> Answer:
        return 200, {}, "ok"


async def _sent(request: Any) -> Sent:
    """A request as it came over the wire."""
    scope = request.scope
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    host = request.headers.get("host", "").partition(":")[0].lower()
    return Sent(
        owner(host) or host,
        request.method,
        host,
        target.decode("latin-1"),
        tuple(request.headers.items()),
        (await request.body()).decode("utf-8", "replace"),
    )
