"""Where a URL leads, read strictly: what is checked is what is connected to.

Parsers disagree on the odd corners of URLs (RFC 3986, WHATWG, and `urlsplit`, which drops tabs and newlines silently),
and an odd corner is where a host looks allowed and is not. So everything that two of them could read differently is
refused, with a sentence that quotes no more than one character of the URL, as that may carry a secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from posttrain.extras import need
from posttrain.guard.egress.addresses import literal

PORTS: dict[str, int] = {"http": 80, "https": 443}
"""Schemes, and the ports they mean."""

UNOWNED = frozenset(("test", "example", "invalid", "localhost", "local", "internal"))
"""Top-level names that nobody can register, so that all names below may be named at once."""

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\s\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AS_WRITTEN = "/?:@!$&'()*+,;=%[]~"


class Refused(ValueError):
    """A request that is not sent, with the reason in one sentence."""


class Target(NamedTuple):
    """Where a request goes."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A name in lower-case ASCII without a trailing dot, or a canonical address without brackets."""
    port: int
    path: str
    """Path and query in ASCII, as they are sent; begins with `/`. Percent-encodings stay as they were written."""

    @property
    def authority(self) -> str:
        """What a `Host` header says: the host, in brackets if it is IPv6, and the port unless the scheme means it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def target(url: str) -> Target:
    """Where a URL leads; its fragment is dropped.

    Raises:
        Refused: It is no plain http or https URL with a host.
    """
    if found := _FORBIDDEN.search(url):
        raise Refused(
            f"Character {found.start()} is U+{ord(found[0]):04X}, which is not printable and dropped by some "
            "parsers; leave it out, or percent-encode it."
        )
    begin = _SCHEME.match(url)
    scheme = begin[1].lower() if begin else ""
    if begin is None or scheme not in PORTS:
        raise Refused("The URL must begin with http:// or https://.")
    if not url.startswith("//", begin.end()):
        raise Refused(f"The URL must have two slashes after {scheme}:, as parsers disagree on what it means otherwise.")
    rest = url[begin.end() + 2 :].partition("#")[0]
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    host, port = authority(rest[:end], PORTS[scheme])
    path = quote(rest[end:], safe=_AS_WRITTEN)
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")


def authority(text: str, port: int | None = None) -> tuple[str, int]:
    """The host and the port of `host:port`, as in a URL, in CONNECT or in a `Host` header.

    Args:
        text: A name, an IPv4 address or an IPv6 address in brackets, with or without a port.
        port: What no port means; None where it must be written.

    Raises:
        Refused: It is anything else.
    """
    if "@" in text:
        raise Refused("A user is named before the host, which can look like a host; leave it and its @ out.")
    if "\\" in text:
        raise Refused(
            "There is a backslash before the path, and parsers disagree on where the host ends; leave it out."
        )
    if "%" in text:
        raise Refused("The host holds a %, for an encoding or a zone; write it plainly.")
    if text.startswith("["):
        inside, bracket, after = text[1:].partition("]")
        host, colon, digits = _bracketed(inside, bracket), after[:1], after[1:]
        if colon not in ("", ":"):
            raise Refused("Only a port can follow the address in brackets.")
    else:
        name, colon, digits = text.partition(":")
        if ":" in digits:
            raise Refused("The host holds more than one colon; an IPv6 address stands in brackets, such as [::1].")
        host = literal(name) or _name(name)
    if not colon and port is not None:
        return host, port
    if not _PORT.fullmatch(digits) or int(digits) > 65535:
        raise Refused("The port must be a number from 1 to 65535, without sign or leading zeros.")
    return host, int(digits)


@lru_cache(maxsize=4096)
def site(host: str) -> str:
    """The registrable domain that a host belongs to, by the public suffix list; an address or a suffix is its own.

    Args:
        host: As `target` gives it.
    """
    if literal(host):
        return host
    return _suffixes().privatesuffix(host) or host


def is_top_level(label: str) -> bool:
    """Whether names end in this label: a registry's, or one that is set apart for tests and own networks."""
    return label.lower() in UNOWNED or _suffixes(icann=True).is_public(label.lower())


class Hosts:
    """Patterns of hosts.

    `api.example.com` is that host, `*.example.com` every host below it but not itself, `[::1]` or `10.0.0.1` an
    address; each with `:port` or without.

    Args:
        patterns: To compile.
        whole_zones: Take public suffixes too, as a list of what is denied may.

    Raises:
        ValueError: A pattern is none, or would name hosts of many owners, such as `*.com` or `*.github.io`.
    """

    def __init__(self, patterns: Iterable[str], whole_zones: bool = False) -> None:
        self._known: dict[tuple[str, int], str] = {}
        for pattern in patterns:
            self._known.setdefault(_read(pattern, whole_zones), pattern)

    def match(self, host: str, port: int, ports: Collection[int]) -> str | None:
        """The pattern that names a host, the closest one of several; None if there is none.

        Args:
            host: As `target` gives it.
            port: That is connected to.
            ports: What patterns without a port mean.
        """
        for name in _names(host):
            found = self._known.get((name, port)) or (self._known.get((name, 0)) if port in ports else None)
            if found:
                return found
        return None


def _names(host: str) -> Iterator[str]:
    """The keys that can name a host: `a.b.c`, then `.b.c` and `.c` for what lies below."""
    yield host
    at = host.find(".")
    while at >= 0:
        yield host[at:]
        at = host.find(".", at + 1)


def _read(pattern: str, whole_zones: bool) -> tuple[str, int]:
    """The key of a pattern; port 0 stands for none."""
    wide, rest = pattern.startswith("*."), pattern.removeprefix("*.")
    if re.search(r"[/?#\s]", pattern):
        raise ValueError(
            f"{pattern!r} is no host; write the host alone, such as api.example.com or *.example.com:8443."
        )
    if "*" in rest:
        raise ValueError(f"In {pattern!r} the * must come first and stand for whole labels, such as in *.example.com.")
    try:
        host, port = authority(rest, 0)
    except Refused as error:
        raise ValueError(f"{pattern!r} names no host: {error}") from None
    if wide and literal(host):
        raise ValueError(f"{pattern!r} puts a * before an address; write the address alone.")
    if whole_zones:
        return f".{host}" if wide else host, port
    if wide and host not in UNOWNED and _suffixes().is_public(host):
        raise ValueError(f"{pattern!r} would name hosts of many owners; write a domain with its owner, *.name.{host}.")
    if not wide and _suffixes(icann=True).is_public(host):
        raise ValueError(f"{pattern!r} is a public suffix and no host; write a host below it, such as name.{host}.")
    return f".{host}" if wide else host, port


@cache
def _suffixes(icann: bool = False) -> Any:
    """The public suffix list; only the part of the registries, where unknown top-level names are none, or all of it."""
    return need("publicsuffixlist").PublicSuffixList(accept_unknown=not icann, only_icann=icann)


def _bracketed(inside: str, bracket: str) -> str:
    """The address in brackets."""
    host = literal(inside) if bracket and ":" in inside else None
    if host is None:
        raise Refused("What stands in brackets is no IPv6 address in its shortest form, such as [2001:db8::1].")
    return host


def _name(text: str) -> str:
    """A host name in lower-case ASCII."""
    if not text:
        raise Refused("There is no host.")
    if len(text) > 254:
        raise Refused("The host is longer than 253 characters.")
    name = ".".join(_label(label) for label in text.removesuffix(".").split("."))
    if len(name) > 253:
        raise Refused("The host is longer than 253 characters.")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise Refused("The host ends in a number but is no address of four decimal numbers, such as 192.0.2.1.")
    return name


def _label(text: str) -> str:
    """One label in lower-case ASCII. Underscores are refused: no host name has one (RFC 1123)."""
    if not text:
        raise Refused("The host has an empty label; put one dot between labels, and at most one at the end.")
    label = text.lower() if text.isascii() else text
    if not text.isascii() or label.startswith("xn--"):
        label = _encoded(label)
    if not _LABEL.fullmatch(label):
        raise Refused("A label of the host may hold letters, digits and inner hyphens only.")
    if len(label) > 63:
        raise Refused("A label of the host is longer than 63 characters.")
    return label


def _encoded(label: str) -> str:
    """The punycode of a label, by strict IDNA 2008; or the same, checked, for punycode."""
    idna = need("idna")
    try:
        for character in label:
            if not character.isascii() and not _stands_for_itself(character, idna.uts46_remap(character)):
                raise Refused(f"The host holds U+{ord(character):04X}, which is read as something else; write that.")
        return idna.encode(label, uts46=True, std3_rules=True).decode()
    except idna.IDNAError:
        raise Refused("A label of the host is no internationalised name (IDNA 2008).") from None


def _stands_for_itself(character: str, mapped: str) -> bool:
    """Whether a character outside of ASCII stays outside, is seen, and is no digit."""
    seen = bool(mapped) and unicodedata.category(character) not in ("Cf", "Nd")
    return seen and not any(each.isascii() for each in mapped)
