"""Clients of proxies: blocking sockets, a thread each, and no parsing beyond what an answer's end needs."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from benchmarks.egress_target import HOST, Servers

HEADERS = "User-Agent: python-httpx/0.28.1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
JSON = '{"model": "m", "messages": [{"role": "user", "content": "%s"}], "seed": %d}'
TEXT = "Please read the report of the third quarter and tell me which of the numbers changed. " * 11
SECONDS = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_numbers = count()


class Client:
    """What one client does again and again.

    Args:
        proxy: Port of the proxy; None goes to the server directly.
        servers: Where requests go.
    """

    def __init__(self, proxy: int | None, servers: Servers) -> None:
        self.proxy, self.servers = proxy, servers
        self.wire: socket.socket | None = None

    def once(self) -> None:
        """One request or connection, answered as expected."""
        raise NotImplementedError

    def dial(self, port: int) -> socket.socket:
        """A connection to the proxy, or to the port of a server."""
        wire = socket.socket()
        wire.settimeout(SECONDS)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.connect(("127.0.0.1", self.proxy or port))
        return wire

    def tunnel(self, port: int) -> socket.socket:
        """A connection on which the proxy was asked for a tunnel to a server."""
        wire = self.dial(port)
        if self.proxy is not None:
            wire.sendall(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
            _checked(_read(wire, b""))
        return wire

    def close(self) -> None:
        """Leave."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None


class Plain(Client):
    """GET by plain HTTP, on one connection as long as the other side keeps it."""

    def once(self) -> None:
        request, kept = self.request(f"{HOST}:{self.servers.plain}", next(_numbers)), self.wire is not None
        try:
            self._send(request)
        except ConnectionError:
            if not kept:
                raise
            self.close()  # the other side has left without a word, as tinyproxy does
            self._send(request)

    def _send(self, request: bytes) -> None:
        self.wire = self.wire or self.dial(self.servers.plain)
        self.wire.sendall(request)
        if not answered(self.wire):
            self.close()

    def request(self, host: str, number: int) -> bytes:
        """No two are alike."""
        return f"GET {self._at(host)}/v1/items/{number}?page=2 HTTP/1.1\r\nHost: {host}\r\n{HEADERS}\r\n".encode()

    def _at(self, host: str) -> str:
        return f"http://{host}" if self.proxy else ""


class Post(Plain):
    """The same with 1 KB of JSON."""

    def request(self, host: str, number: int) -> bytes:
        body = JSON % (TEXT, number)
        head = f"POST {self._at(host)}/v1/chat HTTP/1.1\r\nHost: {host}\r\n{HEADERS}Content-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Kept(Client):
    """GET over TLS in a tunnel that stands."""

    def once(self) -> None:
        self.wire = self.wire or CONTEXT.wrap_socket(self.tunnel(self.servers.tls), server_hostname=HOST)
        path, host = f"/v1/items/{next(_numbers)}?page=2", f"{HOST}:{self.servers.tls}"
        self.wire.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{HEADERS}\r\n".encode())
        if not answered(self.wire):
            self.close()


class Fresh(Kept):
    """The same in a tunnel of its own: connection, CONNECT, TLS handshake, request."""

    def once(self) -> None:
        super().once()
        self.close()


class Greeting(Client):
    """A tunnel of its own with nothing but a ClientHello in it, made before and sent back by an echo."""

    def once(self) -> None:
        wire = self.tunnel(self.servers.echo)
        wire.sendall(HELLO)
        received(wire, len(HELLO))
        wire.close()


def answered(wire: socket.socket) -> bool:
    """Read one answer; whether another can follow on the connection."""
    data = _read(wire, b"")
    end = data.index(b"\r\n\r\n")
    length = _LENGTH.search(data, 0, end)
    assert length is not None, data
    rest = end + 4 + int(length[1]) - len(data)
    while rest > 0:
        more = wire.recv(1 << 16)
        if not more:
            raise ConnectionError("The answer ended early.")
        rest -= len(more)
    _checked(data)
    return b"connection: close" not in data[:end].lower()


def received(wire: socket.socket, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        more = wire.recv(size - len(data))
        if not more:
            raise ConnectionError(f"{size} bytes were expected, {len(data)} came.")
        data += more
    return data


def _read(wire: socket.socket, data: bytes) -> bytes:
    """At least the head of an answer."""
    while b"\r\n\r\n" not in data:
        more = wire.recv(1 << 16)
        if not more:
            raise ConnectionError(f"The answer ended early: {data!r}")
        data += more
    return data


def _checked(data: bytes) -> None:
    if data[9:12] != b"200":
        raise ConnectionError(f"200 was expected: {data[:300]!r}")


class Rate(NamedTuple):
    """What many clients got done."""

    done: int
    seconds: float
    failed: int

    @property
    def per_second(self) -> float:
        """Requests or connections."""
        return self.done / self.seconds


def load(make: Callable[[], Client], clients: int, seconds: float = float("inf"), most: float = float("inf")) -> Rate:
    """Clients side by side for some seconds, or until they have done `most` together."""
    done, failed = [0] * clients, [0] * clients
    ready = threading.Barrier(clients + 1)
    end = [float("inf")]

    def work(number: int) -> None:
        client = make()
        ready.wait()
        while time.perf_counter() < end[0] and done[number] < most / clients:
            try:
                client.once()
                done[number] += 1
            except OSError:
                failed[number] += 1
                client.close()
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    end[0] = start + seconds
    for thread in threads:
        thread.join()
    return Rate(sum(done), time.perf_counter() - start, sum(failed))


def held(client: Client, tunnels: int, opened: Callable[[], None]) -> int:
    """Open tunnels to the echo, and once all stand send a kilobyte through each; how many failed.

    Args:
        client: Who opens them.
        tunnels: At a time.
        opened: Called while all stand.
    """
    wires: list[socket.socket] = []
    for _ in range(tunnels):
        try:
            wire = client.tunnel(client.servers.echo)
            wires.append(wire)
            wire.sendall(HELLO)
            received(wire, len(HELLO))
        except OSError:
            continue
    opened()
    whole = 0
    for number, wire in enumerate(wires):
        data = number.to_bytes(4) * 256
        try:
            wire.sendall(data)
            whole += received(wire, len(data)) == data
        except OSError:
            continue
    for wire in wires:
        wire.close()
    return tunnels - whole


def times(client: Client, requests: int) -> list[float]:
    """Milliseconds of each of some requests, one after the other; the first one does not count."""
    found = []
    for _ in range(requests + 1):
        start = time.perf_counter()
        client.once()
        found.append(1e3 * (time.perf_counter() - start))
    client.close()
    return found[1:]


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    try:
        CONTEXT.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs an answer")


CONTEXT = _context()
"""Checks no certificate: mitmproxy has one of its own."""
HELLO = _hello()
