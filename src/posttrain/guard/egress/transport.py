"""One HTTP hop to an address that was checked: no redirects, no second look-up, bounded in bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeAlias

from posttrain.extras import need
from posttrain.guard.egress.facts import OWN_HEADERS, Request
from posttrain.guard.egress.hosts import Target
from posttrain.guard.egress.policy import Limits

Connect: TypeAlias = Callable[[str, int, str], Awaitable[tuple[str, int]]]
"""Address, port and host to the address and port to connect to; tests send names to servers of their own with it."""

REDIRECTS = (301, 302, 303, 307, 308)


class TransportError(OSError):
    """A request that was allowed did not get through."""


@dataclass(frozen=True)
class Response:
    """What came back from one hop."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    url: str
    cut: bool = False
    """Whether it was longer than `limits.response`."""

    def header(self, name: str) -> str | None:
        """The first header of a name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def redirect(self) -> str | None:
        """Where it redirects to, as it says; None if it does not."""
        return self.header("location") if self.status in REDIRECTS else None

    @property
    def text(self) -> str:
        """The body as UTF-8, what cannot be read replaced."""
        return self.body.decode("utf-8", "replace")


class Transport:
    """Sends requests.

    Args:
        limits: Bytes and seconds.
        connect: See `Connect`; None connects to the address.
        verify: Certificates, as httpx2 takes it.
    """

    def __init__(self, limits: Limits, connect: Connect | None = None, verify: Any = True) -> None:
        httpx = need("httpx2")
        self.limits = limits
        self.connect = connect
        # A connection kept alive is found again by its address alone, so it could serve another host's request.
        alone = httpx.Limits(max_keepalive_connections=0, max_connections=limits.connections)
        # Cookies are the caller's to send: kept here, they would leave unjudged, to all hosts of one address.
        none = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self.client = httpx.AsyncClient(
            verify=verify, trust_env=False, follow_redirects=False, timeout=limits.seconds, limits=alone, cookies=none
        )

    async def send(self, request: Request, target: Target, addresses: Sequence[str]) -> Response:
        """One request, as `target.host`, to the first of its addresses that can be connected to.

        Raises:
            TransportError: There is no answer.
        """
        httpx = need("httpx2")
        failed: Exception | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(2 * self.limits.seconds):
                    return await self._send(request, target, address)
            except httpx.ConnectError as error:
                failed = error
            except (httpx.TransportError, httpx.StreamError, httpx.DecodingError, TimeoutError) as error:
                failed = error
                break
        raise TransportError(f"{target.host} did not answer: {failed or type(failed).__name__}.") from failed

    async def _send(self, request: Request, target: Target, address: str) -> Response:
        """One request to one address."""
        httpx = need("httpx2")
        there = (address, target.port)
        ip, port = there if self.connect is None else await self.connect(*there, target.host)
        path = target.path.encode("ascii")
        url = httpx.URL(scheme=target.scheme, host=ip, port=port)
        headers = [(name, value) for name, value in request.headers if name.lower() not in OWN_HEADERS]
        built = self.client.build_request(
            request.method,
            url,
            headers=[("host", target.authority), *headers],
            content=request.body,
            extensions={"sni_hostname": target.host, "target": path},
        )
        answer = await self.client.send(built, stream=True)
        try:
            body, cut = await self._read(answer)
        finally:
            await answer.aclose()
        where = f"{target.scheme}://{target.authority}{target.path}"
        return Response(answer.status_code, tuple(answer.headers.multi_items()), body, where, cut)

    async def _read(self, answer: Any) -> tuple[bytes, bool]:
        """The body, decompressed, up to the limit."""
        found = bytearray()
        async for chunk in answer.aiter_bytes():
            found += chunk
            if len(found) > self.limits.response:
                return bytes(found[: self.limits.response]), True
        return bytes(found), False

    async def aclose(self) -> None:
        """Close all connections."""
        await self.client.aclose()
