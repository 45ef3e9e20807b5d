"""Commands that have no other way out than the proxy."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from proxied import OK, Origin, awaited, policy

from posttrain.guard.egress import sandbox
from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.resolver import StaticResolver

held = pytest.mark.skipif(
    bool(sys.platform != "linux" or sandbox.why_not()), reason="this machine allows no user namespaces"
)

FETCH = """
import os, sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if sys.argv[2] == "directly" else None))
try:
    print(opener.open(sys.argv[1], timeout=5).status, flush=True)
except OSError as error:
    print(getattr(error, "code", "unreachable"), flush=True)
"""


@asynccontextmanager
async def place(folder):
    """A gateway, and a server that it lets requests to."""
    origin = Origin([OK])
    server = await asyncio.start_server(origin, "127.0.0.1", 0)
    origin.port = server.sockets[0].getsockname()[1]
    names = StaticResolver({"api.test": ["127.0.0.1"]})
    gateway = Gateway(policy(origin.port), log=folder / "egress.jsonl", secrets={}, resolver=names)
    async with server, gateway:
        yield origin, gateway


async def fetched(gateway: Gateway, capfd, url: str, how: str) -> str:
    """What a command saw that fetched a URL."""
    capfd.readouterr()
    assert await sandbox.run(gateway, [sys.executable, "-c", FETCH, url, how], session="agent") == 0
    return capfd.readouterr().out.strip()


@held
@awaited
async def test_a_command_reaches_the_proxy_and_nothing_else(tmp_path, capfd):
    async with place(tmp_path) as (origin, gateway):
        assert await fetched(gateway, capfd, f"http://127.0.0.1:{origin.port}/", "directly") == "unreachable"
        assert await fetched(gateway, capfd, "http://192.0.2.1/", "directly") == "unreachable"
        assert origin.connections == 0
        assert await fetched(gateway, capfd, f"http://api.test:{origin.port}/", "by proxy") == "200"
        assert await fetched(gateway, capfd, "http://evil.test/", "by proxy") == "403"
        assert origin.connections == 1
        assert set(gateway.sessions.accounts) == {"agent"}


@held
@awaited
async def test_a_command_is_who_it_was_and_cannot_undo_what_holds_it(tmp_path, capfd):
    async with place(tmp_path) as (_, gateway):
        tries = "id -u; id -g; ls /run; umount /run 2>/dev/null && echo undone; unshare --net true 2>/dev/null; exit 3"
        capfd.readouterr()
        assert await sandbox.run(gateway, ["sh", "-c", tries]) == 3
        assert capfd.readouterr().out.split() == [str(os.getuid()), str(os.getgid())]


@held
@awaited
async def test_exit_codes_and_signals_are_the_command_s(tmp_path):
    async with place(tmp_path) as (_, gateway):
        assert await sandbox.run(gateway, ["sh", "-c", "exit 7"]) == 7
        assert await sandbox.run(gateway, ["sh", "-c", "kill -TERM $$"]) == 128 + signal.SIGTERM


@held
@awaited
async def test_a_signal_is_passed_on(tmp_path):
    async with place(tmp_path) as (_, gateway):
        ready = tmp_path / "ready"
        waits = f"trap 'exit 5' TERM; touch {ready}; while :; do sleep 0.02; done"
        running = asyncio.create_task(sandbox.run(gateway, ["sh", "-c", waits]))
        while not ready.exists():
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 5


@awaited
async def test_without_namespaces_it_refuses_and_says_how_to_start_anyway(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "why_not", lambda: "unshare failed: Operation not permitted")
    async with place(tmp_path) as (_, gateway):
        with pytest.raises(ValueError, match=r"Operation not permitted.*--no-namespace"):
            await sandbox.run(gateway, ["true"])


@awaited
async def test_with_variables_alone_a_command_is_not_held(tmp_path, capfd):
    async with place(tmp_path) as (origin, gateway):
        for host, how in (("api.test", "by proxy"), ("127.0.0.1", "directly")):
            command = [sys.executable, "-c", FETCH, f"http://{host}:{origin.port}/", how]
            capfd.readouterr()
            assert await sandbox.run(gateway, command, namespace=False) == 0
            assert capfd.readouterr().out == "200\n"


@awaited
async def test_a_program_that_is_not_there(tmp_path):
    async with place(tmp_path) as (_, gateway):
        with pytest.raises(ValueError, match="no program 'no-such-program'"):
            await sandbox.run(gateway, ["no-such-program"])


def test_the_reason_is_unshare_s(monkeypatch):
    monkeypatch.setattr(sandbox, "NAMESPACES", (sys.executable, "-c", "raise SystemExit('not permitted')"))
    assert sandbox.why_not() == "not permitted"
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    assert "util-linux" in sandbox.why_not()


def test_what_runs_inside_imports_nothing_of_posttrain():
    code = f"import runpy, sys; runpy.run_path({str(sandbox.INSIDE)!r}); print('posttrain' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_variables_are_there_in_both_cases():
    assert {name for name in sandbox.variables(1) if name.isupper()} == {
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_USE_ENV_PROXY",
    }  # fmt: skip
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        assert sandbox.variables(8899)[name] == sandbox.variables(8899)[name.upper()]
