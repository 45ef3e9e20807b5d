"""Servers to measure against, in a process of their own: HTTP, HTTP over TLS, and an echo. They do next to nothing."""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HOST = "localhost"
"""The name that all proxies are given, since every system knows its address."""
BODY = b"x" * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(BODY)
ANSWERS = {keep: HEAD + (b"" if keep else b"Connection: close\r\n") + b"\r\n" + BODY for keep in (True, False)}


class Servers(NamedTuple):
    """Their ports on 127.0.0.1."""

    plain: int
    tls: int
    echo: int


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """All three, until the context ends."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.egress_target", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Servers(*json.loads(process.stdout.readline()))
        finally:
            process.kill()


class Echo(asyncio.Protocol):
    """Gives back every byte."""

    transport: Any = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Web(Echo):
    """Answers every request with the same kilobyte; a request has no body, or Content-Length before it."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.buffer = b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            size = end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(self.buffer) < size:
                return
            self.buffer = self.buffer[size:]
            keep = b"connection: close" not in head
            self.transport.write(ANSWERS[keep])
            if not keep:
                self.transport.close()


async def _serve(folder: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop, tls = asyncio.get_running_loop(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    running = [
        await loop.create_server(kind, "127.0.0.1", 0, backlog=2048, ssl=context)
        for kind, context in ((Web, None), (Web, tls), (Echo, None))
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in running]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
