"""What every server of ours needs: a safe address, a token, limits, and a stop that finishes what was begun."""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from posttrain.extras import need


def check_address(host: str, token: str | None) -> None:
    """Raise unless only this machine can connect, or whoever connects needs a token.

    Args:
        host: To listen on, an address or `localhost`.
        token: What clients must bring; None lets every client in.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ValueError(f"host={host!r} is no address; use 127.0.0.1, or another address of this machine.") from None
    if not loopback and not token:
        raise ValueError(
            f"host={host!r} can be reached from other machines: set a token (`serve` reads it from the variable that "
            "--token-env names), or listen on 127.0.0.1."
        )


def check_port(port: int) -> None:
    """Raise unless it is a port, or 0 for a free one."""
    if not 0 <= port <= 65535:
        raise ValueError(f"port={port} is no port; one lies between 1 and 65535, and 0 takes a free one.")


def not_listening(host: str, port: int, error: OSError) -> OSError:
    """Why a server cannot listen, and what to do about it."""
    reason = os.strerror(error.errno) if error.errno else error
    advice = ADVICE.get(error.errno, "choose another port")
    return OSError(f"{host}:{port} cannot be listened on ({reason}); {advice}.")


ADVICE: dict[int | None, str] = {
    errno.EADDRNOTAVAIL: "choose an address of this machine",
    errno.EACCES: "choose a port above 1023",
}


def same_token(given: str, token: str) -> bool:
    """Compare without telling by the time where the first difference is."""
    return hmac.compare_digest(given.encode(), token.encode())


class BearerToken:
    """ASGI middleware: 401 unless the request brings `Authorization: Bearer TOKEN`."""

    def __init__(self, app: Any, token: str) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "lifespan":
            given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            kind, _, token = given.partition(" ")
            if kind.lower() != "bearer" or not same_token(token, self.token):
                await _answer(send, 401, b"a bearer token is needed\n", [(b"www-authenticate", b"Bearer")])
                return
        await self.app(scope, receive, send)


class BodyLimit:
    """ASGI middleware: 413 for a request whose body is longer than `limit` bytes, said or sent."""

    def __init__(self, app: Any, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Read the body up to the limit, then pass on or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"")
        body, more, fits = bytearray(), True, not said.isdigit() or int(said) <= self.limit
        while more and fits:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more, fits = message.get("more_body", False), len(body) <= self.limit
        if not fits:
            await _answer(send, 413, f"the body is longer than {self.limit} bytes\n".encode())
            return
        given = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> Any:
            return next(given, None) or await receive()

        await self.app(scope, replay, send)


async def _answer(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    lines = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(app: Any, host: str = "127.0.0.1", port: int = 0, **options: Any) -> AsyncIterator[int]:
    """Serve an ASGI application in this event loop; gives the port.

    Args:
        app: Of starlette or another framework.
        host: To listen on.
        port: 0 takes a free one.
        options: More of uvicorn's settings.
    """
    uvicorn = need("uvicorn")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise not_listening(host, port, error) from error
    # Connections inherit it; an answer in two pieces would else wait for the client to acknowledge the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    settings = {"log_level": "warning", "lifespan": "on", "timeout_graceful_shutdown": 5, **options}
    server = uvicorn.Server(uvicorn.Config(app, **settings))
    server.capture_signals = _no_signals
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise OSError(f"The server on {host} did not start; its log says why.")
            await asyncio.sleep(0.005)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


class _no_signals:
    """Signals stay with whoever runs the loop."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


async def until_stopped(stop: Callable[[], Awaitable[None]]) -> None:
    """Wait for SIGINT or SIGTERM, then let `stop` finish what was begun."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, asked.set)
    await asked.wait()
    await stop()
