"""The preview of a URL, as agents make it: fetch with limits, take the title and its like, tag each with its source."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from urllib.parse import urljoin

from posttrain.extras import need
from posttrain.trajectory import Passage


class Fetched(Protocol):
    """What a fetch brings."""

    @property
    def status(self) -> int: ...  # noqa: D102
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102
    @property
    def url(self) -> str: ...  # noqa: D102


Fetch: TypeAlias = Callable[[str], Awaitable[Fetched]]
"""Fetches a URL. In front of an agent it is a gateway, which judges redirects as well."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one preview."""

    bytes: int = 500_000
    """Of the body; what is beyond is not looked at."""
    seconds: float = 10.0
    """For everything."""
    redirects: int = 3
    """Most redirects by a page's HTML (meta refresh) that are followed."""
    characters: int = 1_000
    """Of each field."""
    items: int = 20
    """Most anchors, and most images."""


@dataclass(frozen=True)
class Preview:
    """What is known of a page without opening it."""

    url: str
    """Where it was in the end."""
    status: int
    passages: tuple[Passage, ...]
    """One for each field: source `preview:URL`, path the field's name."""

    @property
    def text(self) -> str:
        """As it is put before a model."""
        lines = [f"{passage.span.path}: {passage.text}" for passage in self.passages]
        return "\n".join([f"[preview of {self.url}, status {self.status}]", *lines])


async def preview(url: str, fetch: Fetch, limits: Limits | None = None) -> Preview:
    """Fetch a page and take its fields.

    Raises:
        TimeoutError: It took more than `limits.seconds`.
        ValueError: The page redirects more often than `limits.redirects`.
    """
    limits = limits or Limits()
    async with asyncio.timeout(limits.seconds):
        return await _follow(url, fetch, limits, limits.redirects)


async def _follow(url: str, fetch: Fetch, limits: Limits, left: int) -> Preview:
    """Fetch, and go where the page's HTML leads, at most `left` times."""
    got = await fetch(url)
    tree = need("selectolax.lexbor").LexborHTMLParser(text_of(got, limits.bytes))
    goal = refresh(tree)
    if goal is None:
        return Preview(got.url, got.status, passages(tree, got, limits))
    if not left:
        raise ValueError(f"{got.url} redirects by its HTML more than {limits.redirects} times.")
    return await _follow(urljoin(got.url, goal), fetch, limits, left - 1)


def text_of(got: Fetched, limit: int) -> str:
    """The body as text: by the charset of the header, or of the HTML, or UTF-8; what cannot be read is replaced."""
    body = got.body[:limit]
    declared = re.search(r"charset=[\"']?([\w.:-]+)", _header(got, "content-type"), re.IGNORECASE)
    inside = re.search(rb"<meta[^>]{0,200}charset=[\"']?([\w.:-]+)", body[:4096], re.IGNORECASE)
    for name in (declared[1] if declared else "", inside[1].decode() if inside else "", "utf-8"):
        try:
            if name:
                return body.decode(name, "replace")
        except (LookupError, UnicodeError):
            continue
    return body.decode("utf-8", "replace")


def refresh(tree: Any) -> str | None:
    """Where `<meta http-equiv=refresh>` leads; None without one."""
    for node in tree.css("meta[http-equiv][content]"):
        if (node.attributes["http-equiv"] or "").lower() == "refresh":
            found = re.search(r"url\s*=\s*[\"']?([^\"']+)", node.attributes["content"] or "", re.IGNORECASE)
            if found:
                return found[1].strip()
    return None


def passages(tree: Any, got: Fetched, limits: Limits) -> tuple[Passage, ...]:
    """The fields of a page, empty ones left out."""
    source = f"preview:{got.url}"
    tidy = ((name, " ".join(text.split())[: limits.characters]) for name, text in fields(tree, got, limits))
    return tuple(Passage.whole(text, source, path=name) for name, text in tidy if text)


def fields(tree: Any, got: Fetched, limits: Limits) -> Iterator[tuple[str, str]]:
    """Names and texts of all that a preview shows."""
    if title := tree.css_first("title"):
        yield "title", title.text()
    for node in tree.css("meta"):
        name = (node.attributes.get("name") or node.attributes.get("property") or "").lower()
        if name == "description" or name.startswith("og:"):
            yield name, node.attributes.get("content") or ""
    for node in tree.css('script[type="application/ld+json"]')[: limits.items]:
        yield "json-ld", " ".join(_strings(_json(node.text())))
    for node in tree.css("a")[: limits.items]:
        yield "anchor", node.text()
    for node in tree.css("img[alt]")[: limits.items]:
        yield "alt", node.attributes.get("alt") or ""
    yield "x-description", _header(got, "x-description")
    if named := re.search(r'title="([^"]*)"', _header(got, "link")):
        yield "link-title", named[1]
    tree.strip_tags(["script", "style", "noscript", "template"])
    yield "snippet", tree.body.text(separator=" ") if tree.body else ""


def _header(got: Fetched, name: str) -> str:
    return next((value for key, value in got.headers if key.lower() == name), "")


def _json(text: str) -> Any:
    """JSON-LD, or nothing where it is broken."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value, which may be nested deeply."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict | list):
            waiting += list(one.values() if isinstance(one, dict) else one)
