"""A memory behind its server: in this process, or in one of its own that can be killed."""

import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from commandline import environment
from posttrain.memory.server.app import Door, app
from posttrain.memory.server.rights import Keys, Rights
from posttrain.memory.server.tools import Tools
from posttrain.serve import serving

LOG = (
    ("take brass key", "Taken. You hold the brass key."),
    ("go east", "The vault room. The vault is locked."),
    ("unlock vault with brass key", "You unlock the vault."),
    ("open vault", "The vault is open."),
)
"""A run in which step 2 makes step 3 possible."""


@asynccontextmanager
async def served(memory: Any, **door: Any) -> AsyncIterator[str]:
    """The server in this event loop; gives its address."""
    tools = Tools(memory)
    try:
        async with serving(app(tools, Door(**door))) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        tools.close()


def keyed(**rights: Rights) -> Keys:
    """Tokens, each with what it opens."""
    return Keys(rights)


def http(token: str = "", **headers: str) -> httpx2.AsyncClient:
    """A client that brings a token."""
    given = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(headers=given | headers, trust_env=False, timeout=60)


@asynccontextmanager
async def over_http(address: str, token: str = "", mode: str = "auto") -> AsyncIterator[Client]:
    """The official client, over HTTP."""
    async with (
        http(token) as client,
        Client(streamable_http_client(f"{address}/mcp", http_client=client), mode=mode) as c,
    ):
        yield c


@asynccontextmanager
async def over_stdio(where: Path, *flags: str, mode: str = "auto") -> AsyncIterator[Client]:
    """The official client, and a server process of its own."""
    arguments = ["-m", "posttrain", "memory", "serve", str(where), "--stdio", *flags]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=environment())
    async with Client(server, mode=mode) as client:
        yield client


class Server(NamedTuple):
    """A process that serves over HTTP."""

    process: subprocess.Popen
    address: str


@contextlib.contextmanager
def process(where: Path, *flags: str, **variables: str) -> Iterator[Server]:
    """Start one, and see that it is gone at the end."""
    command = [sys.executable, "-m", "posttrain", "memory", "serve", str(where), "--port", "0", *flags]
    started = subprocess.Popen(
        command, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        said = ""
        while not (found := re.search(r"^json +(http://\S+)/v1/$", said, re.M)):
            line = started.stdout.readline()
            assert line, started.communicate()[1]
            said += line
        yield Server(started, found[1])
    finally:
        started.kill()
        started.communicate()
