"""A command whose only way out is the proxy, because programs may ignore HTTPS_PROXY.

It runs in Linux namespaces of its own: a network with nothing but loopback, in which the proxy listens, and mounts
without /run, where sockets of the host's name service, message bus and containers would lead out. The listening socket
is made in the new network and handed to the proxy outside, so nothing stands between them.

It holds the network and nothing else: files, other processes of the same user, and Unix sockets outside of /run stay in
reach. Needs unprivileged user namespaces.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.proxy import BACKLOG, Proxy

PORT = 8899
"""Of the proxy, in the command's network."""
INSIDE = Path(__file__).with_name("sandbox_inside.py")
NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--mount")
PASSED_ON = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def why_not() -> str:
    """Why a command cannot have namespaces of its own here; empty if it can."""
    if shutil.which("unshare") is None:
        return "there is no `unshare`, which is part of util-linux"
    tried = subprocess.run(
        [*NAMESPACES, "--", "mount", "-t", "tmpfs", "tmpfs", "/tmp"], capture_output=True, text=True, check=False
    )  # fmt: skip
    return tried.stderr.strip() if tried.returncode else ""


def check(command: Sequence[str], namespace: bool) -> None:
    """Raise unless a command can be run: the program is there, and the machine allows namespaces if they are wanted."""
    if shutil.which(command[0]) is None:
        raise ValueError(f"There is no program {command[0]!r}.")
    if namespace and (reason := why_not()):
        raise ValueError(
            f"This machine allows no network namespace ({reason}), so a command that ignores HTTPS_PROXY would not be "
            "held; allow unprivileged user namespaces, or give --no-namespace to set the proxy's variables alone."
        )


def variables(port: int) -> dict[str, str]:
    """What tells programs to use a proxy on a port of this machine."""
    url = f"http://127.0.0.1:{port}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    every = dict.fromkeys((*names, *map(str.lower, names)), url)
    return every | {"NO_PROXY": "", "no_proxy": "", "NODE_USE_ENV_PROXY": "1"}


async def run(gateway: Gateway, command: Sequence[str], session: str = "default", namespace: bool = True) -> int:
    """Run a command behind the gateway; gives its exit code, 128 + n if signal n ended it.

    Args:
        gateway: Judges and logs.
        command: Program and arguments.
        session: Whose account everything goes to; the command cannot choose.
        namespace: False only sets the variables: a command that ignores them is not held.

    Raises:
        ValueError: See `check`.
    """
    check(command, namespace)
    if not namespace:
        async with Proxy(gateway, session=session) as proxy:
            child = await asyncio.create_subprocess_exec(*command, env=_environment(proxy.port))
            return await _ended(child, proxy)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inside = [sys.executable, "-I", str(INSIDE), *map(str, (theirs.fileno(), PORT, BACKLOG)), *command]
        child = await asyncio.create_subprocess_exec(
            *NAMESPACES, "--", *inside, env=_environment(PORT), pass_fds=[theirs.fileno()]
        )  # fmt: skip
        theirs.close()
        _, found, *_ = await asyncio.to_thread(socket.recv_fds, ours, 1, 1)
    if not found:
        raise ValueError(f"{command[0]} could not be started in its namespaces; what is printed above says why.")
    async with Proxy(gateway, session=session, listener=socket.socket(fileno=found[0])) as proxy:
        return await _ended(child, proxy)


def _environment(port: int) -> Mapping[str, str]:
    return {**os.environ, **variables(port)}


async def _ended(child: asyncio.subprocess.Process, proxy: Proxy) -> int:
    """Pass signals on until the command ends, then cut off what it left."""
    loop = asyncio.get_running_loop()
    for name in PASSED_ON:
        loop.add_signal_handler(signal.Signals[name], _pass_on, child, signal.Signals[name])
    code = await child.wait()
    for name in PASSED_ON:
        loop.remove_signal_handler(signal.Signals[name])
    await proxy.stop(grace=0.0)
    return code if code >= 0 else 128 - code


def _pass_on(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal, unless the terminal has already sent it to both."""
    if number in (signal.SIGINT, signal.SIGQUIT) and sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp():
        return
    if child.returncode is None:
        child.send_signal(number)
