"""One plain HTTP request to its server, and the answer back to the client, framed anew in both directions."""

from __future__ import annotations

from typing import Any

from posttrain.extras import need
from posttrain.guard.egress.door import Chains
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.hosts import Target
from posttrain.guard.egress.proxy_answers import end_to_end
from posttrain.guard.egress.proxy_http import Bad
from posttrain.guard.egress.relay import Wire
from posttrain.guard.egress.transport import REDIRECTS

LONGEST_HEAD = 1 << 17
"""Bytes of an answer's status line and headers."""


async def exchange(client: Wire, upstream: Wire, http: Any, request: Request, goal: Target, chains: Chains) -> bool:
    """Send a request and stream its answer back.

    Args:
        client: Who asked.
        upstream: A fresh connection to the server.
        http: The client's side, as h11 sees it.
        request: As it was judged.
        goal: Where it goes.
        chains: Told of redirects.

    Returns:
        Whether the client may ask again on its connection.

    Raises:
        Bad: The server gave no answer, or none that can be read; nothing went back yet.
    """
    h11 = need("h11")
    server, started = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD), False
    await upstream.write(_sent(server, request, goal))
    try:
        while not isinstance(event := await _next(server, upstream), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                started = True
                location = dict(event.headers).get(b"location")
                if event.status_code in REDIRECTS and location is not None:
                    chains.answered(request.session, goal, location.decode("utf-8", "replace"))
                event = _framed(event)
            await client.write(http.send(event))
        await client.write(http.send(h11.EndOfMessage()))
    except h11.RemoteProtocolError as error:
        if not started:
            raise Bad(f"{goal.host}:{goal.port} gave no answer that can be read: {error}.", 502) from None
        client.abort()
        return False
    if http.our_state is h11.DONE and http.their_state is h11.DONE:
        return True
    client.close()
    return False


def _sent(server: Any, request: Request, goal: Target) -> bytes:
    """A request as bytes: the headers that were judged, and those of this connection."""
    h11 = need("h11")
    headers = [("Host", goal.authority), *((name, value.encode()) for name, value in request.headers)]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(request.body))))
    headers.append(("Connection", "close"))
    events = (
        h11.Request(method=request.method, target=goal.path, headers=headers),
        h11.Data(data=request.body),
        h11.EndOfMessage(),
    )
    return b"".join(server.send(event) for event in events)


async def _next(server: Any, upstream: Wire) -> Any:
    """The next of a response, a piece of its body, or its end; interim responses are left out."""
    h11 = need("h11")
    while True:
        event = server.next_event()
        if event is h11.NEED_DATA:
            if not upstream.buffer:
                await upstream.more()
            server.receive_data(upstream.take())
        elif not isinstance(event, h11.InformationalResponse):
            return event


def _framed(response: Any) -> Any:
    """A response whose headers are for the client."""
    headers = end_to_end(response.headers.raw_items())
    return need("h11").Response(status_code=response.status_code, reason=response.reason, headers=headers)
