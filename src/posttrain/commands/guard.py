"""`posttrain guard`: what may leave an agent."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import resource
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import tyro

from posttrain.commands.parse import parse

if TYPE_CHECKING:
    from posttrain.guard.egress.gateway import Gateway
    from posttrain.guard.egress.policy import EgressPolicy
    from posttrain.guard.egress.replay import Line
    from posttrain.guard.egress.session import Account

SHOWN = 20
"""Sessions that are printed at the end."""

USAGE = """usage: posttrain guard egress COMMAND [...]

  serve --policy FILE                 a forward proxy: set HTTPS_PROXY and HTTP_PROXY to it
  run --policy FILE -- COMMAND...     a command with no other way out
  check --policy FILE URL...          what the policy says about URLs; nothing is sent
  replay LOG --policy FILE            recorded traffic under another policy
  schema                              the JSON schema of policies

  posttrain guard egress COMMAND --help    says what a command takes"""


@dataclass(frozen=True)
class Serve:
    """A forward proxy that judges, logs, and only then forwards."""

    policy: Path
    """TOML; `posttrain guard egress schema` says what it may hold."""
    port: int = 8899
    """To listen on; 0 takes a free one."""
    host: str = "127.0.0.1"
    """To listen on. Beyond this machine a token is needed."""
    token_env: str = ""
    """Environment variable with the token that clients bring as password of Proxy-Authorization."""
    session: str = ""
    """Of all requests; by default the user of Proxy-Authorization, which the client chooses."""
    log: Path = Path("egress-log.jsonl")
    """Every request, written before it is sent; a restart goes on from it."""
    judge_socket: Path | None = None
    """Where the add-on for mitmproxy asks about the contents of TLS."""


@dataclass(frozen=True)
class Run:
    """A command behind the proxy, with no other way out."""

    policy: Path
    """TOML; `posttrain guard egress schema` says what it may hold."""
    session: str = ""
    """Whose account it goes to; by default a new one."""
    log: Path = Path("egress-log.jsonl")
    """Every request, written before it is sent; a restart goes on from it."""
    namespace: bool = True
    """Without, only the proxy's variables are set, and a command that ignores them is not held."""


@dataclass(frozen=True)
class Check:
    """What a policy says about URLs, each for itself. Nothing is sent; exit code 1 if one is not allowed."""

    urls: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="URL...")]
    """To judge, as GET requests."""
    policy: Path
    """TOML; `posttrain guard egress schema` says what it may hold."""


@dataclass(frozen=True)
class Replay:
    """Recorded traffic, judged again by another policy."""

    log: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="LOG")]
    """That `serve` or `run` wrote."""
    policy: Path
    """TOML; `posttrain guard egress schema` says what it may hold."""


def main(arguments: Sequence[str]) -> None:
    """Hand over to a command of `guard egress`."""
    given = list(arguments)
    if not given or given[0] in ("-h", "--help") or given in (["egress"], ["egress", "-h"], ["egress", "--help"]):
        print(USAGE)
        return
    if given[0] != "egress" or given[1] not in COMMANDS:
        raise ValueError(
            f"guard {' '.join(given[:2])} is not understood; use guard egress with one of {', '.join(COMMANDS)}."
        )
    COMMANDS[given[1]](given[2:])


def serve(flags: Sequence[str]) -> None:
    """Serve until SIGINT or SIGTERM."""
    given = _parsed(Serve, "serve", flags)
    token = None
    if given.token_env:
        token = os.environ.get(given.token_env)
        if not token:
            raise ValueError(f"--token-env {given.token_env}: there is no such environment variable, or it is empty.")
    _go(_serve(given, _policy(given.policy), token))


async def _serve(given: Serve, policy: EgressPolicy, token: str | None) -> None:
    from posttrain.guard.egress.gateway import Gateway
    from posttrain.guard.egress.proxy import Proxy
    from posttrain.serve import check_address, check_port, until_stopped

    check_address(given.host, token)
    check_port(given.port)
    room_for(policy.limits.connections)
    async with Gateway(policy, log=given.log) as gateway:
        proxy = Proxy(gateway, given.host, given.port, token, given.judge_socket, session=given.session)
        async with proxy:
            print(f"proxy    http://{given.host}:{proxy.port}")
            print(f"policy   {given.policy} ({gateway.name}, mode {policy.mode})")
            print(f"log      {given.log}")
            if given.judge_socket is not None:
                print(f"add-on   {_add_on(given.judge_socket, proxy.host, proxy.port)}")
            print(f"sees     {proxy.blind}")
            print(f"account  {_account(given.session)}", flush=True)
            await until_stopped(_nothing)
        _print_end(gateway, sys.stdout)


def _add_on(judge_socket: Path, host: str, port: int) -> str:
    """The command that runs mitmproxy with the add-on."""
    from posttrain.guard.egress import mitmproxy_addon

    script = mitmproxy_addon.__file__
    return f"EGRESS_JUDGE={judge_socket} mitmdump -s {script} --mode upstream:http://{host}:{port} --listen-port 8898"


def _account(session: str) -> str:
    if session:
        return f"one, {session!r}, for all requests"
    return "one for each user of Proxy-Authorization, whom a client chooses; --session NAME makes it one for all"


async def _nothing() -> None:
    """Leaving the contexts ends what runs."""


def run(flags: Sequence[str]) -> None:
    """Run a command; exit with its code."""
    flags = list(flags)
    at = flags.index("--") if "--" in flags else len(flags)
    given, command = _parsed(Run, "run", flags[:at]), flags[at + 1 :]
    if not command:
        raise ValueError("There is no command to run; write it after --, as in `run --policy egress.toml -- CMD`.")
    sys.exit(_go(_run(given, _policy(given.policy), command)))


async def _run(given: Run, policy: EgressPolicy, command: Sequence[str]) -> int:
    from posttrain.guard.egress import sandbox
    from posttrain.guard.egress.gateway import Gateway

    sandbox.check(command, given.namespace)
    room_for(policy.limits.connections)
    if not given.namespace:
        print(
            "posttrain: NOT HELD: a command that ignores HTTPS_PROXY reaches the network directly (--no-namespace).",
            file=sys.stderr,
        )
    print(f"posttrain: of HTTPS the host alone is judged. Log: {given.log}", file=sys.stderr, flush=True)
    session = given.session or f"run {datetime.now():%Y-%m-%d %H:%M:%S}"
    async with Gateway(policy, log=given.log) as gateway:
        code = await sandbox.run(gateway, command, session, given.namespace)
        _print_end(gateway, sys.stderr, session)
        return code


def check(flags: Sequence[str]) -> None:
    """Judge URLs."""
    given = _parsed(Check, "check", flags)
    if not given.urls:
        raise ValueError(
            "There is no URL to check; `check --policy egress.toml https://api.example.com/v1` judges one."
        )
    if not asyncio.run(_check(given, _policy(given.policy))):
        sys.exit(1)


async def _check(given: Check, policy: EgressPolicy) -> bool:
    from posttrain.guard.egress.facts import Request
    from posttrain.guard.egress.gateway import Gateway

    allowed = True
    async with Gateway(policy) as gateway:
        shown = [gateway.look.secrets.redact(url) for url in given.urls]
        for number, url in enumerate(given.urls):
            verdict, goal = await gateway.admit(Request("GET", url, session=f"check {number}"))
            allowed = allowed and goal is not None
            said = f"{verdict}; its addresses are checked when it is sent" if goal else str(verdict)
            print(f"{shown[number]:<{max(map(len, shown))}}  {said}")
    return allowed


def replay(flags: Sequence[str]) -> None:
    """Judge a log again."""
    from posttrain.guard.egress import replay

    given = _parsed(Replay, "replay", flags)
    found = replay.replay(given.log, _policy(given.policy))
    if not found.lines:
        print(f"{given.log} is empty: it holds no request to judge again.")
        return
    width = max(map(len, found.rules), default=0)
    for rule, count in found.rules.most_common():
        print(f"denied by {rule:<{width}}  {count}")
    for name, lines in (("no longer sent", found.stopped), ("newly sent", found.released)):
        for line, count in _alike(lines):
            why = "" if line.sends else f": {line.verdict}"
            print(f"{name}, {count} x {line.facts.method} {line.facts.host} (session {line.facts.session}){why}")
    sends = sum(line.sends for line in found.lines)
    print(
        f"{len(found.lines)} requests: {sum(line.sent for line in found.lines)} were sent, {sends} would be; "
        f"{len(found.stopped)} no longer, {len(found.released)} newly."
    )
    _print_accounts(found.accounts, sys.stdout)
    for sentence in found.unknown:
        print(f"not known: {sentence}")


def _print_end(gateway: Gateway, out: TextIO, session: str = "") -> None:
    """What a gateway denied and let out, of all sessions or of one."""
    for rule, count in gateway.denied.most_common():
        print(f"denied by {rule}: {count}", file=out)
    accounts = gateway.sessions.accounts
    _print_accounts({name: account for name, account in accounts.items() if session in ("", name)}, out)


def _print_accounts(accounts: Mapping[str, Account], out: TextIO) -> None:
    """What an adaptive sender could have told in each session; of many, those that sent most."""
    most = sorted(accounts.items(), key=lambda item: (-item[1].requests, item[0]))
    for name, account in most[:SHOWN]:
        print(f"session {name}: {account}", file=out)
    if len(most) > SHOWN:
        print(f"and {len(most) - SHOWN} sessions with fewer requests", file=out)


def _alike(lines: Iterable[Line]) -> list[tuple[Line, int]]:
    """The first line of each method, host, session and rule that denies it, and how many there are."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        rule = "" if line.sends else line.verdict.rule
        key = (line.facts.method, line.facts.host, line.facts.session, rule)
        groups.setdefault(key, []).append(line)
    return [(group[0], len(group)) for group in groups.values()]


def schema(flags: Sequence[str]) -> None:
    """Print the JSON schema."""
    from posttrain.guard.egress.policy import EgressPolicy
    from posttrain.guard.policy import schema

    if flags and flags[0] in ("-h", "--help"):
        print("usage: posttrain guard egress schema")
        return
    if flags:
        raise ValueError(f"guard egress schema takes nothing (given: {' '.join(flags)}); it prints all there is.")
    print(json.dumps(schema(EgressPolicy), indent=1, allow_nan=False))


def room_for(connections: int) -> None:
    """Allow this process the files that so many clients and their servers need, or say how many it can have."""
    wanted = 2 * connections + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        print(
            f"posttrain: the limit of {most} open files is enough for {(most - 64) // 2} clients, not for the "
            f"{connections} of limits.connections; raise it with ulimit -n.",
            file=sys.stderr,
        )


def _policy(path: Path) -> EgressPolicy:
    from posttrain.guard.egress.policy import EgressPolicy
    from posttrain.guard.policy import load

    return load(EgressPolicy, path)


def _parsed(kind: type[Any], name: str, flags: Sequence[str]) -> Any:
    return parse(kind, flags, prog=f"posttrain guard egress {name}", description=kind.__doc__ or "")


def _go(work: Coroutine[Any, Any, Any]) -> Any:
    """Run in an event loop; in uvloop's if it is installed."""
    factory = importlib.import_module("uvloop").new_event_loop if importlib.util.find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


COMMANDS = {"serve": serve, "run": run, "check": check, "replay": replay, "schema": schema}
