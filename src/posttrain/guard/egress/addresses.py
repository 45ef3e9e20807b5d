"""Which addresses are public, by a table of our own.

The blocks are those of IANA's special-purpose registries. Python's `ipaddress` calls several of them global: multicast,
the old site-local addresses, and the forms in which an IPv6 address carries an IPv4 one, such as `64:ff9b::7f00:1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(block), what)
    for block, what in (
        ("0.0.0.0/8", "this network's"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared behind a carrier's translator"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "the platform service of a cloud machine"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "reserved"),
    )
)

_LOW = 0xFFFFFFFF

_FORMS: tuple[tuple[IPv6Network, str, Callable[[int], int]], ...] = (
    (IPv6Network("::ffff:0:0/96"), "the mapped form", lambda n: n & _LOW),
    (IPv6Network("64:ff9b::/96"), "the NAT64 form", lambda n: n & _LOW),
    (IPv6Network("64:ff9b:1::/48"), "the local NAT64 form", lambda n: n & _LOW),
    (IPv6Network("2002::/16"), "the 6to4 form", lambda n: n >> 80 & _LOW),
    (IPv6Network("2001::/32"), "the Teredo form", lambda n: n & _LOW ^ _LOW),
)
"""IPv6 blocks whose addresses lead to an IPv4 address, and how it is read."""

_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(block), what)
    for block, what in (
        ("::/128", "the unspecified address"),
        ("::1/128", "loopback"),
        ("100::/64", "for discarding"),
        ("2001::/23", "for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_UNICAST = IPv6Network("2000::/3")


def not_public(address: str) -> str | None:
    """Why an address is not public, as `127.0.0.1 is loopback (127.0.0.0/8)`; None where it is.

    IPv6 forms of an IPv4 address are never public, whatever that is; the reason names it.

    Args:
        address: As `getaddrinfo` gives it. What is no address is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return f"{address!r} is no address"
    reason = _reason(parsed)
    return reason and f"{address} is {reason}"


def literal(text: str) -> str | None:
    """The canonical form of an address written in full; None for names and for other notations.

    IPv4 is four decimal numbers without leading zeros. IPv6 is as RFC 5952 writes it, in either case, and a mapped
    address may end in an IPv4 address. There is no zone.
    """
    if not _WRITTEN.fullmatch(text):
        return None
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv4Address):
        return text
    mapped = parsed.ipv4_mapped
    spellings = (str(parsed), f"::ffff:{mapped}" if mapped else "")
    return str(parsed) if text.lower() in spellings and not parsed.scope_id else None


_WRITTEN = re.compile(r"[0-9A-Fa-f:.]+")
"""What an address may hold; most names hold something else, which is found faster than an error is made."""


def read_networks(blocks: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as `10.1.0.0/16`; an address alone is a network of one.

    Raises:
        ValueError: One of them is no network, or names an address inside of one.
    """
    found: list[Network] = []
    for block in blocks:
        try:
            found.append(ip_network(block))
        except ValueError as error:
            raise ValueError(f"{block!r} is no network ({error}); write one such as 10.1.0.0/16.") from None
    return tuple(found)


def _reason(address: IPv4Address | IPv6Address) -> str | None:
    """What is special about an address."""
    if isinstance(address, IPv4Address):
        return next((f"{what} ({block})" for block, what in _V4 if address in block), None)
    for block, form, read in _FORMS:
        if address in block:
            inner = IPv4Address(read(int(address)))
            reason = _reason(inner)
            return f"{form} ({block}) of {inner}" + (f", which is {reason}" if reason else "")
    for block, what in _V6:
        if address in block:
            return f"{what} ({block})"
    return None if address in _UNICAST else f"outside of what is assigned to the internet ({_UNICAST})"
