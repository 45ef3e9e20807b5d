"""An add-on for mitmproxy, run as a program of its own: it shows every decrypted request to the judge, and waits.

    posttrain guard egress serve --policy egress.toml --port 8899 --judge-socket judge.sock
    EGRESS_JUDGE=judge.sock mitmdump -s mitmproxy_addon.py --mode upstream:http://127.0.0.1:8899 --listen-port 8898

Clients use port 8898 and trust mitmproxy's certificate. Behind mitmproxy the proxy of `serve` still resolves names and
checks addresses. What the judge does not allow is answered by 403; where it cannot be asked, the flow is killed. Frames
of WebSockets and bytes that are no HTTP are not judged, so none leaves.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any

SECONDS = 60.0
"""Longest wait for a verdict."""
LONGEST = 1 << 20
"""Bytes of a verdict."""
BLIND = ("ignore_hosts", "allow_hosts", "tcp_hosts", "udp_hosts", "stream_large_bodies")
"""mitmproxy's options with which requests would leave unseen."""
REDIRECTS = (301, 302, 303, 307, 308)
NEIGHBOUR = ("connection", "proxy-connection", "keep-alive", "te")
"""Headers for mitmproxy alone, which the judge does not look at."""


class Egress:
    """Asks before every request."""

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {}

    def configure(self, updated: set[str]) -> None:
        """Refuse options that hide requests."""
        from mitmproxy import ctx, exceptions  # pyright: ignore[reportMissingImports]

        if set_ := [name for name in BLIND if getattr(ctx.options, name, None)]:
            raise exceptions.OptionsError(f"{', '.join(set_)}: requests would leave without being judged; unset it.")
        if not os.environ.get("EGRESS_JUDGE"):
            raise exceptions.OptionsError("EGRESS_JUDGE must be the path that `serve --judge-socket` was given.")

    async def http_connect(self, flow: Any) -> None:
        """Ask before a tunnel's server is looked up, and note whose it is."""
        given = flow.request.headers.pop("proxy-authorization", "")
        self.sessions[flow.client_conn.id] = session_of(given)
        url = f"https://{_bracketed(flow.request.host)}:{flow.request.port}/"
        await self._ask(flow, {"method": "CONNECT", "url": url})

    def requestheaders(self, flow: Any) -> None:
        """Keep the body until it was judged."""
        flow.request.stream = False

    async def request(self, flow: Any) -> None:
        """Ask whether a request may leave."""
        if given := flow.request.headers.pop("proxy-authorization", ""):
            self.sessions[flow.client_conn.id] = session_of(given)
        if because := unseen(flow.request):
            _refuse(flow, {"rule": "mitmproxy", "because": because})
            return
        for name in NEIGHBOUR:
            if flow.request.headers.get(name) != "trailers":  # what gRPC says in `te`
                flow.request.headers.pop(name, None)
        await self._ask(flow, question(flow.request))

    async def response(self, flow: Any) -> None:
        """Tell where a redirect leads, so that the next request is judged as a part of the chain."""
        location = flow.response.headers.get("location")
        if flow.response.status_code in REDIRECTS and location is not None:
            await self._ask(flow, {"redirect": location, "url": flow.request.url})

    def websocket_message(self, flow: Any) -> None:
        """Frames are not judged."""
        if flow.websocket.messages[-1].from_client:
            flow.websocket.messages[-1].drop()

    def tcp_message(self, flow: Any) -> None:
        """Bytes that are no HTTP are not judged."""
        if flow.messages[-1].from_client:
            flow.messages[-1].content = b""

    udp_message = tcp_message

    def client_disconnected(self, client: Any) -> None:
        """Forget whose connection it was."""
        self.sessions.pop(client.id, None)

    async def _ask(self, flow: Any, asked: dict[str, Any]) -> None:
        """Let a flow go on only if the judge allows it."""
        session = self.sessions.get(flow.client_conn.id, "default")
        try:
            verdict = await judged({"session": session, **asked}, os.environ["EGRESS_JUDGE"])
            allowed = verdict["action"] == "allow"
        except (OSError, EOFError, ValueError, LookupError, TypeError, asyncio.LimitOverrunError):
            flow.kill()
            return
        if not allowed:
            _refuse(flow, verdict)


async def judged(asked: dict[str, Any], path: str) -> dict[str, Any]:
    """The judge's answer to one question.

    Raises:
        OSError: It cannot be reached, or answers too late.
        ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError: It gave no answer.
    """
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST)
        try:
            writer.write(json.dumps(asked).encode() + b"\n")
            await writer.drain()
            return json.loads(await reader.readuntil(b"\n"))
        finally:
            writer.close()


def question(request: Any) -> dict[str, Any]:
    """A request as the judge takes it; bytes that are no UTF-8 stay recognisable."""
    asked = {
        "method": request.method,
        "url": request.url,
        "headers": [[_text(name), _text(value)] for name, value in request.headers.fields if name.lower() != b"host"],
        "body": base64.b64encode(request.raw_content).decode(),
    }
    return asked if request.host_header is None else {**asked, "host": request.host_header}


def unseen(request: Any) -> str:
    """Why a request cannot be judged whole; empty if it can."""
    if request.raw_content is None:
        return "its body was streamed."
    if request.trailers:
        return "it has headers after its body (trailers)."
    if any(name.lower() == b"host" and _text(value) != request.host_header for name, value in request.headers.fields):
        return "its Host header names another host than it is sent to."
    if request.method.upper() == "CONNECT" or "upgrade" in request.headers:
        return "what follows it is no HTTP."
    return ""


def session_of(header: str) -> str:
    """The user that `Proxy-Authorization: Basic` names."""
    kind, _, value = header.partition(" ")
    try:
        user = base64.b64decode(value, validate=True).decode().partition(":")[0]
    except ValueError:
        return "default"
    return user if user and kind.lower() == "basic" else "default"


def _refuse(flow: Any, verdict: dict[str, Any]) -> None:
    from mitmproxy import http  # pyright: ignore[reportMissingImports]

    body = json.dumps({name: verdict.get(name, "") for name in ("rule", "because", "verdict")})
    flow.response = http.Response.make(403, body, {"content-type": "application/json"})


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


addons = [Egress()]
