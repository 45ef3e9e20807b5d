"""Where a program that sees inside TLS asks whether a request may leave: one JSON line each, one JSON line back.

    {"method": "POST", "url": "https://api.example.com/v1", "host": "api.example.com", "headers": [["name", "value"]],
     "body": "base64", "session": "name"}                 -> {"action": "allow"} or {"action": "deny", "rule": ..., ...}
    {"method": "CONNECT", "url": "https://api.example.com:443/"}    a tunnel that is about to be opened
    {"redirect": "/next", "url": ..., "session": ...}     an answer pointed elsewhere -> {"action": "allow"}

The socket is a file that only its owner can open. What cannot be read, judged or logged is denied.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from pathlib import Path
from typing import Any

from posttrain.files import WriteError, writing
from posttrain.guard.egress.door import Door
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.hosts import PORTS, Refused, authority, target
from posttrain.guard.egress.proxy_answers import explained
from posttrain.guard.egress.proxy_http import unfit


class JudgeSocket:
    """Answers on a Unix socket.

    Args:
        door: Judges and logs.
        path: Of the socket. One that nobody listens on any more is replaced.
        session: Of all requests; empty takes theirs.
    """

    def __init__(self, door: Door, path: Path, session: str = "") -> None:
        self.door, self.path, self.session = door, path, session
        limits = door.gateway.policy.limits
        self.longest = 2 * (limits.body + 2 * limits.head)  # base64, and escapes of JSON
        self.tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen."""
        self._clear()
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            with writing(self.path):
                listener.bind(str(self.path))
        finally:
            os.umask(before)
        self.server = await asyncio.start_unix_server(self._serve, sock=listener, limit=self.longest)

    async def stop(self) -> None:
        """Answer no more."""
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def answer(self, line: bytes) -> dict[str, str]:
        """What happens to one line."""
        try:
            asked = _read(line)
            if "redirect" in asked:
                return self._redirect(asked)
            request = self._request(asked)
            sees = "host" if request.method == "CONNECT" else "all"
            verdict, goal = await self.door.admit(request, sees)
        except _Unreadable as error:
            return {"action": "deny", "rule": "judge-socket", "because": str(error)}
        except WriteError as error:
            return {"action": "deny", "rule": "log", "because": str(error)}
        return {"action": "allow"} if goal is not None else {"action": "deny", **explained(verdict)}

    def _request(self, asked: dict[str, Any]) -> Request:
        """A line as the request that rules judge."""
        url, headers = asked["url"], asked.get("headers", [])
        if not isinstance(headers, list) or not all(_is_pair(pair) for pair in headers):
            raise _Unreadable("headers must be a list of pairs of text.")
        if "host" in asked:
            _check_host(url, asked["host"])
        try:
            body = base64.b64decode(asked.get("body", ""), validate=True)
        except ValueError:
            raise _Unreadable("body must be base64.") from None
        return Request(asked["method"], url, tuple((n, v) for n, v in headers), body, self._session(asked))

    def _redirect(self, asked: dict[str, Any]) -> dict[str, str]:
        """Remember where a request was sent on to."""
        try:
            goal = target(asked["url"])
        except Refused:
            raise _Unreadable("the url of a redirect must be one that was allowed.") from None
        self.door.chains.answered(self._session(asked), goal, asked["redirect"])
        return {"action": "allow"}

    def _session(self, asked: dict[str, Any]) -> str:
        return self.session or asked.get("session") or "default"

    def _clear(self) -> None:
        """Remove a socket that a killed process left."""
        if not self.path.is_socket():
            if self.path.exists():
                raise ValueError(f"{self.path} exists and is no socket; give --judge-socket another path.")
            return
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self.path)) == 0:
                raise ValueError(f"{self.path} is answered by another process; stop it, or choose another path.")
        self.path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lines of one client, until it leaves or sends one that is too long."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while True:
                line = await reader.readuntil(b"\n")
                writer.write(json.dumps(await self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # it left, or sent a line that is too long, whose rest cannot be told from the next one
        finally:
            self.tasks.discard(task)
            writer.close()


class _Unreadable(ValueError):
    """A line that is no question."""


def _read(line: bytes) -> dict[str, Any]:
    """A line's fields, those that are text checked."""
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        raise _Unreadable("the line is no JSON.") from None
    if not isinstance(asked, dict):
        raise _Unreadable("the line must be one JSON object.")
    for name in ("url", "redirect" if "redirect" in asked else "method"):
        if not isinstance(asked.get(name), str):
            raise _Unreadable(f"{name} must be text.")
    for name in ("session", "host", "body"):
        if not isinstance(asked.get(name, ""), str):
            raise _Unreadable(f"{name} must be text.")
    if problem := unfit(asked.get("session", "")):
        raise _Unreadable(f"session {problem}.")
    return asked


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)


def _check_host(url: str, host: str) -> None:
    """Refuse a Host header that names another host than the URL. A URL that is refused is the judge's matter."""
    try:
        goal = target(url)
    except Refused:
        return
    try:
        said = authority(host, PORTS[goal.scheme])
    except Refused as refused:
        raise _Unreadable(f"the Host header cannot be read: {refused}") from None
    if said != goal[1:3]:
        raise _Unreadable("the Host header names another host than the URL.")
