"""A transport for httpx and httpx2: an existing client sends through the gateway by one argument.

client = httpx2.AsyncClient(transport=gateway_transport(gateway))
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from posttrain.extras import need
from posttrain.guard.egress.door import Chains
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.verdict import Verdict
from posttrain.trajectory import Passage

ENCODED = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that no longer hold for a body that was decoded on its way."""


class Denied(PermissionError):
    """A request that the policy does not let out."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


def gateway_transport(
    gateway: Gateway,
    session: str = "default",
    passages: Sequence[Passage] | None = None,
    library: ModuleType | None = None,
) -> Any:
    """An `AsyncBaseTransport` whose every request, redirects included, goes through the gateway.

    Args:
        gateway: The way out.
        session: Whose account requests go to.
        passages: The conversation, for provenance; a list that grows is read anew for each request.
        library: `httpx` or `httpx2`; None is httpx2.

    Raises (when used):
        Denied: The policy does not let a request out.
    """
    httpx = library or need("httpx2")

    class GatewayTransport(httpx.AsyncBaseTransport):
        chains = Chains()

        async def handle_async_request(self, request: Any) -> Any:
            lines = tuple((name, value) for name, value in request.headers.multi_items())
            body = await request.aread()
            asked = Request(request.method, str(request.url), lines, body, session)
            verdict, goal, response = await gateway.send(asked, passages, self.chains.hop(session, asked.url))
            if response is None or goal is None:
                raise Denied(verdict)
            self.chains.sent(session, goal)
            if response.redirect is not None:
                self.chains.answered(session, goal, response.redirect)
            headers = [(name, value) for name, value in response.headers if name.lower() not in ENCODED]
            return httpx.Response(response.status, headers=headers, content=response.body, request=request)

    return GatewayTransport()
