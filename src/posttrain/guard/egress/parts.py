"""A request in the pieces that its sender can choose, with nothing left out.

    GET /a%20b/c?page=2&all   Host: api.example.com

    label: api   path: a%20b   path: c   query: page   query page: 2   query: all   header: Host   header Host: ...

Pieces stand in the request's order and as they were written, so the way of writing counts as a choice too; what they do
not hold is the registrable domain, the port and the method. An address is a label. The body is one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from itertools import islice
from typing import NamedTuple

from posttrain.guard.egress.addresses import literal
from posttrain.guard.egress.hosts import Target, site

Headers = Sequence[tuple[str, str]]


class Part(NamedTuple):
    """One piece."""

    where: str
    """`label` of the host below the registrable domain, or an address, `path` for a segment, `query` and `header` for
    names, `query NAME` and `header NAME` (in lower case) for their values, `body`."""
    text: str


def parts(target: Target, headers: Headers, body: bytes) -> list[Part]:
    """The pieces of a request; bytes that are no UTF-8 become surrogates.

    Args:
        target: Where it goes.
        headers: Names and values; fixed ones too, as any of them can carry data.
        body: As it is sent.
    """
    return [*_host(target), *_path(target.path), *_headers(headers), *_body(body)]


def content(target: Target, headers: Headers, body: bytes, whole: bool = False) -> bytes:
    """The same, not taken apart: what is searched for secrets. An encoded text may hold `/`, `=` or a line's end.

    With `whole` it holds the registrable domain too, which a sender that may go anywhere chooses as well.
    """
    below = _bytes_of(target.host) if ":" in target.host else target.host
    below = below if whole else target.host.removesuffix(site(target.host))
    head = "\n".join((below, target.path, *(f"{name}: {value}" for name, value in headers), ""))
    return head.encode("utf-8", "surrogatepass") + body


def words(text: str, limit: int | None = None) -> list[str]:
    """A text cut at separators, which are pieces as well: joined, they are the text.

    Args:
        text: Of any length.
        limit: After so many pieces the rest is one.
    """
    found = list(islice(_PIECES.finditer(text), limit))
    end = found[-1].end() if found else 0
    rest = [text[end:]] if end < len(text) else []
    return [piece[0] for piece in found] + rest


def segments(text: str) -> frozenset[str]:
    """What a sender can take over from a text: its words, and the pieces of its links."""
    found = {*WORD.findall(text), *_LINK_PIECE.findall(text)}
    return frozenset(found | {piece.rstrip(".!,;:)") for piece in found})


_SEPARATORS = r"\s/?&=#\"'<>(){}\[\],:;|\\"
WORD = re.compile(rf"[^{_SEPARATORS}]+")
_PIECES = re.compile(rf"[^{_SEPARATORS}]+|[{_SEPARATORS}]+")
_LINK_PIECE = re.compile(r"[^\s/?&=#\"'<>]+")


def _host(target: Target) -> Iterator[Part]:
    """Labels; an address is one, as who owns a network can read a message in it."""
    if literal(target.host):
        return iter((Part("label", f"[{target.host}]" if ":" in target.host else target.host),))
    below = target.host.removesuffix(site(target.host)).removesuffix(".")
    return (Part("label", label) for label in below.split(".") if label)


def _bytes_of(address: str) -> str:
    """An IPv6 address in hex digits alone."""
    return ip_address(address).packed.hex()


def _path(path: str) -> Iterator[Part]:
    """Segments, names and values; a name without `=` has no value, which differs from an empty one."""
    before, mark, query = path.partition("?")
    for segment in before.removeprefix("/").split("/"):
        yield Part("path", segment)
    for pair in query.split("&") if mark else ():
        name, equals, value = pair.partition("=")
        yield Part("query", name)
        if equals:
            yield Part(f"query {name}", value)


def _headers(headers: Headers) -> Iterator[Part]:
    for name, value in headers:
        yield Part("header", name)
        yield Part(f"header {name.lower()}", value)


def _body(body: bytes) -> Iterator[Part]:
    if body:
        yield Part("body", body.decode("utf-8", "surrogateescape"))
