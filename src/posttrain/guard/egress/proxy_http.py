"""Requests to a proxy, read strictly: what two parsers could read differently is answered by 400.

h11 parses; what it forgives (folded lines, bare line feeds, control characters, two lengths) is refused before.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from posttrain.extras import need
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.hosts import Refused, authority
from posttrain.guard.egress.proxy_answers import LENGTHS, NEIGHBOUR
from posttrain.guard.egress.relay import Wire
from posttrain.serve import same_token

_END = re.compile(rb"\r?\n\r?\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ONCE = (b"host", b"content-length", b"transfer-encoding", b"proxy-authorization")


LONGEST_NAME = 128
"""Characters of a session's name."""


class Bad(ValueError):
    """A request that is answered by an error of 400 and more, in one sentence."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Head:
    """A request's line and headers."""

    method: str
    url: str
    """Of a tunnel `https://HOST:PORT/`."""
    headers: tuple[tuple[str, str], ...]
    """Those that are forwarded; none with a tunnel."""
    session: str

    def request(self, body: bytes = b"") -> Request:
        """The request as rules see it: what they judge is what is forwarded."""
        return Request(self.method, self.url, self.headers, body, self.session)


class Reader:
    """Reads one request from a wire.

    Args:
        wire: The client.
        head: Most bytes of line and headers.
        body: Most bytes of the body.
    """

    def __init__(self, wire: Wire, head: int, body: int) -> None:
        h11 = need("h11")
        self.wire = wire
        self.most_head, self.most_body = head, body
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=max(head, 1 << 12))

    async def head(self) -> Any:
        """Line and headers, as h11's event; None if the client leaves without a request.

        Raises:
            Bad: It is no request that everyone reads alike.
        """
        buffer, seen, end = self.wire.buffer, 0, None
        while end is None:
            if buffer and not buffer[:1].isalpha():
                raise Bad("A request begins with its method; this proxy takes HTTP/1.1.")
            end = _END.search(buffer, max(0, seen - 3))
            seen = len(buffer)
            if (end.end() if end else seen) > self.most_head:
                raise Bad(f"The request's line and headers have more than {self.most_head} bytes.", 431)
            if end is None and not await self.wire.more():
                if buffer:
                    raise Bad("The request ends before its headers do.")
                return None
        raw = bytes(buffer[: end.end()])
        del buffer[: end.end()]
        _check(raw)
        self.http.receive_data(raw)
        event = self._next()
        _check_framing(event)
        self.check_length(int(dict(event.headers).get(b"content-length", 0)))
        return event

    async def body(self) -> bytes:
        """The body, with its chunks put together.

        Raises:
            Bad: It is longer than allowed, or its framing is broken.
        """
        h11, found = need("h11"), bytearray()
        while True:
            event = self._next()
            if event is h11.NEED_DATA:
                if self.http.they_are_waiting_for_100_continue:
                    await self.wire.write(self.http.send(h11.InformationalResponse(status_code=100, headers=[])))
                if not self.wire.buffer and not await self.wire.more():
                    raise Bad("The request ends before its body does.")
                self.http.receive_data(self.wire.take())
            elif isinstance(event, h11.Data):
                found += event.data
                self.check_length(len(found))
            else:
                if event.headers:
                    raise Bad("There are headers after the body (trailers), which are not forwarded; leave them out.")
                self.wire.buffer[:0] = self.http.trailing_data[0]
                return bytes(found)

    def check_length(self, length: int) -> None:
        """Refuse a body of more bytes than allowed."""
        if length > self.most_body:
            raise Bad(f"The body has more than {self.most_body} bytes; limits.body allows no more.", 413)

    def _next(self) -> Any:
        h11 = need("h11")
        try:
            return self.http.next_event()
        except h11.RemoteProtocolError as error:
            raise Bad(f"The request cannot be read: {error}.", error.error_status_hint) from None


def read_head(event: Any, token: str | None, session: str = "") -> Head:
    """What a proxy needs to know of a request's line and headers.

    Args:
        event: From `Reader.head`.
        token: That Proxy-Authorization must bring.
        session: Of all requests, whatever they say; empty takes theirs.

    Raises:
        Bad: It is no request to a proxy, or nobody whom the token lets in.
    """
    headers = [(name, value.decode()) for name, value in event.headers.raw_items()]
    given = {name.lower(): value for name, value in headers}
    name = session_of(given.get(b"proxy-authorization"), token)
    method, goal = event.method.decode(), event.target.decode()
    if method == "CONNECT":
        _check_tunnel(goal, given)
        _check_host(given.get(b"host"), goal, 443, portless=True)
        return Head(method, f"https://{goal}/", (), session or name)
    _check_host(given.get(b"host"), _host(goal), 80)
    named = ",".join(value for name, value in headers if name.lower() == b"connection").lower()
    dropped = _DROPPED.union(each.strip().encode() for each in named.split(","))
    kept = tuple((name.decode(), value) for name, value in headers if name.lower() not in dropped)
    return Head(method, goal, kept, session or name)


def session_of(header: str | None, token: str | None) -> str:
    """The session that `Proxy-Authorization: Basic` names as its user.

    Args:
        header: Its value; None where there is none.
        token: That must be the password; None takes any.

    Raises:
        Bad: The token is missing or another, or the header cannot be read.
    """
    kind, _, value = (header or "").partition(" ")
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, password = "", ""
        kind = "unreadable"
    if token is not None and not (kind.lower() == "basic" and same_token(password, token)):
        raise Bad("Proxy-Authorization: Basic is needed, with the session as user and the token as password.", 407)
    if header is not None and kind.lower() != "basic":
        raise Bad("Proxy-Authorization must be Basic, with user:password in base64 of UTF-8.")
    if problem := unfit(user):
        raise Bad(f"The user of Proxy-Authorization, who names the session, {problem}.")
    return user or "default"


def unfit(session: str) -> str:
    """Why a text can name no session; empty if it can."""
    if len(session) > LONGEST_NAME:
        return f"has more than {LONGEST_NAME} characters"
    return "" if session.isprintable() else "holds characters that cannot be printed"


def _check(raw: bytes) -> None:
    """Refuse what h11 would forgive in a head."""
    lines = raw.split(b"\r\n")
    if any(_CONTROL.search(line) for line in lines):
        raise Bad("The request's line and headers must hold no control characters and end their lines in CR LF.")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise Bad("A header goes on in another line, which parsers read differently; write it in one.")
    for name in _ONCE:
        values = [line for line in lines if line[: len(name) + 1].lower() == name + b":"]
        if len(values) > 1 or any(b"," in value for value in values):
            raise Bad(f"{name.decode()} is given more than once, which parsers read differently; give it once.")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise Bad(f"The request's line and headers are no UTF-8 (byte {error.start}).") from None


def _check_framing(event: Any) -> None:
    """Refuse two ways of telling a body's length, and versions that have none of them."""
    names = [name for name, _ in event.headers]
    if b"content-length" in names and b"transfer-encoding" in names:
        raise Bad("There are both Content-Length and Transfer-Encoding, which parsers read differently; send one.")
    if event.http_version not in (b"1.0", b"1.1"):
        raise Bad("This proxy takes HTTP/1.1.", 505)
    if event.http_version == b"1.0" and b"transfer-encoding" in names:
        raise Bad("HTTP/1.0 knows no Transfer-Encoding; send HTTP/1.1.")


def _check_tunnel(goal: str, given: dict[bytes, str]) -> None:
    if not _AUTHORITY.fullmatch(goal):
        raise Bad("CONNECT takes HOST:PORT.")
    if b"content-length" in given or b"transfer-encoding" in given:
        raise Bad("CONNECT has no body.")


def _host(url: str) -> str:
    """Host and port, as they stand in a whole URL."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() != "http":
        raise Bad("This is a proxy: a request needs a whole http:// URL, and https goes through CONNECT.")
    return re.split("[/?#]", rest, maxsplit=1)[0]


def _check_host(header: str | None, host: str, port: int, portless: bool = False) -> None:
    """Refuse a Host header that names another host than the request's line. Hosts that are none are the judge's matter.

    Args:
        header: Its value.
        host: As it stands in the request's line.
        port: What no port means.
        portless: Whether the header may leave the port out although the line has one.
    """
    if header is None:
        return
    try:
        there = authority(host, port)
    except Refused:
        return
    try:
        said = authority(header, there[1] if portless else port)
    except Refused as refused:
        raise Bad(f"The Host header cannot be read: {refused}") from None
    if said != there:
        raise Bad("The Host header names another host than the request's line.")


_DROPPED = NEIGHBOUR | LENGTHS | {b"host", b"expect"}
_AUTHORITY = re.compile(r"[^/?#]+:[0-9]{1,5}")
