"""A proxy between servers and clients that speak in bytes, all on 127.0.0.1."""

import asyncio
import base64
import functools
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from posttrain.guard.audit import AuditLog
from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.policy import EgressPolicy
from posttrain.guard.egress.proxy import Proxy
from posttrain.guard.egress.resolver import StaticResolver
from posttrain.guard.policy import parse

SECRET = "k7Qw2ZrT9xBv4NmLp8Ys3DfG"
"""24 characters of base62: runs count from 6 on."""


def awaited(test: Callable[..., Awaitable[None]]):
    """A test that runs in an event loop of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


@dataclass
class Origin:
    """A server that keeps what it is sent, and answers each head with the next answer, the last one for ever."""

    answers: list[bytes]
    seen: bytearray = field(default_factory=bytearray)
    connections: int = 0
    port: int = 0

    @property
    def requests(self) -> list[bytes]:
        """The requests' lines."""
        return [head.splitlines()[0] for head in bytes(self.seen).split(b"\r\n\r\n") if b" HTTP/1.1" in head]

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(1 << 16):
            self.seen += data
            if b"\r\n\r\n" in data:
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Give back every byte, and end when the client has ended."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    await writer.drain()
    writer.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Place:
    """What a test has at hand."""

    proxy: Proxy
    origin: Origin
    gateway: Gateway
    log: Path
    resolver: StaticResolver

    @property
    def at(self) -> str:
        """Host and port of the server."""
        return f"api.test:{self.origin.port}"

    def records(self) -> list[dict]:
        """The log's requests."""
        return [line for line in map(json.loads, self.log.read_text().splitlines()) if "facts" in line]

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the proxy."""
        return await asyncio.open_connection("127.0.0.1", self.proxy.port)

    async def say(self, data: bytes, end: bool = False) -> bytes:
        """All that comes back for some bytes, until the proxy ends the connection."""
        reader, writer = await self.dial()
        writer.write(data)
        if end:
            writer.write_eof()
        try:
            return await reader.read(-1)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def get(self, path: str, host: str = "", more: str = "") -> tuple[int, bytes]:
        """GET a path of the server; status and body."""
        return split(await self.say(plain(host or self.at, path, more)))

    async def tunnel(self, goal: str = "", more: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """CONNECT; gives the streams and the head of the answer."""
        reader, writer = await self.dial()
        goal = goal or self.at
        writer.write(f"CONNECT {goal} HTTP/1.1\r\nHost: {goal}\r\n{more}\r\n".encode())
        return reader, writer, await reader.readuntil(b"\r\n\r\n")


def plain(host: str, path: str = "/", more: str = "", method: str = "GET") -> bytes:
    """A request to a proxy, after which the connection ends."""
    return f"{method} http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode()


def split(response: bytes) -> tuple[int, bytes]:
    """Status and body."""
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def user(name: str, token: str = "") -> str:
    """The header that names a session."""
    return f"Proxy-Authorization: Basic {base64.b64encode(f'{name}:{token}'.encode()).decode()}\r\n"


def policy(port: int, more: str = "", limits: str = "") -> EgressPolicy:
    """Lets requests to api.test and to any name below it pass, with http, on loopback."""
    return parse(
        EgressPolicy,
        f"""
        {more}
        [destinations]
        allow = ["api.test:{port}", "*.api.test:{port}", "127.0.0.1:{port}"]
        schemes = ["https", "http"]
        networks = ["127.0.0.0/8"]
        [limits]
        {limits}
        """,
    )


@asynccontextmanager
async def behind(
    folder: Path,
    answers: list[bytes] | Callable | None = None,
    *,
    rules: str = "",
    limits: str = "",
    log: AuditLog | None = None,
    resolver: StaticResolver | None = None,
    tls: ssl.SSLContext | None = None,
    connect: Callable | None = None,
    **options,
):
    """A proxy in front of a server."""
    origin = Origin(answers if isinstance(answers, list) else [OK])
    serve = answers if callable(answers) else origin
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    path = folder / "egress.jsonl"
    names = resolver or StaticResolver({"api.test": ["127.0.0.1"], "b.api.test": ["127.0.0.1"]})
    rules_ = policy(origin.port, rules, limits)
    gateway = Gateway(rules_, log=log or path, secrets={"key": SECRET}, resolver=names, connect=connect)
    async with server, gateway, Proxy(gateway, **options) as proxy:
        yield Place(proxy, origin, gateway, path, names)


def client_hello(name: str | None) -> bytes:
    """What OpenSSL sends first to a server of this name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs an answer")
