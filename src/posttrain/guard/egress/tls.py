"""The server that a TLS client asks for, from its first message: all that a tunnel shows (RFC 8446, RFC 6066).

Nothing is decrypted. A tunnel whose bytes are no ClientHello is no TLS, and one that names another server than CONNECT
did would be checked under one name and answered under another (domain fronting).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from posttrain.guard.egress.addresses import literal

MOST = 1 << 15
"""Bytes in which a ClientHello must have come; those of today have 200 to 2,000."""
PIECES = 16
"""TLS records in which it may be cut. Each of them is read again whenever bytes come."""

_HELLO, _SNI, _ECH = 1, 0, 0xFE0D
_LONGEST = 1 << 14
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,253}")

UNKNOWN_NAME = bytes((21, 3, 3, 0, 2, 2, 112))
"""The alert `unrecognized_name`, so that a client says why it was cut off."""


class NotTLS(ValueError):
    """Bytes that no TLS client sends first."""


class Hello(NamedTuple):
    """What a ClientHello shows."""

    name: str
    """The server that it names (SNI), in lower case; empty if none."""
    hides: bool
    """Whether it also carries an encrypted ClientHello (ECH), or something that looks like one."""


def read(data: bytes) -> Hello | None:
    """The ClientHello that a connection begins with; None as long as bytes of it are missing.

    Raises:
        NotTLS: The bytes are no ClientHello, or it is longer than `MOST`.
    """
    message = _message(data)
    if message is None:
        if len(data) > MOST:
            raise NotTLS(f"its first message is longer than {MOST} bytes.")
        return None
    body = _Reader(message)
    body.take(2 + 32)  # version, random
    body.vector(1)  # session
    body.vector(2)  # cipher suites
    body.vector(1)  # compression
    found: dict[int, bytes] = {}
    extensions = _Reader(body.vector(2) if body.left else b"")
    while extensions.left:
        kind, value = extensions.number(2), extensions.vector(2)
        if kind in found:
            raise NotTLS("its first message holds an extension twice.")
        found[kind] = value
    if body.left:
        raise NotTLS("its first message has bytes after its end.")
    return Hello(_name(found[_SNI]) if _SNI in found else "", _ECH in found)


def mismatch(hello: Hello, host: str) -> str:
    """Why a ClientHello does not belong to a tunnel to `host`; empty if it does.

    Clients send no SNI to an address. ECH beside the right name is let pass: browsers send it at random (GREASE), and
    whom it names shares the address that was checked.
    """
    if hello.name == host or (not hello.name and literal(host)):
        return ""
    if hello.name:
        return "its TLS handshake names another server (SNI) than CONNECT did."
    how = "only in encrypted form (ECH)" if hello.hides else "not at all (no SNI)"
    return f"its TLS handshake names the server {how}, so that it cannot be compared with the one of CONNECT."


def _message(data: bytes) -> bytes | None:
    """The body of the handshake message that the first records hold; None if bytes are missing."""
    found, at = b"", 0
    for _ in range(PIECES):
        header = data[at : at + 5]
        if (header[:1] or b"\x16") != b"\x16" or (header[1:2] or b"\x03") != b"\x03":
            raise NotTLS("its first bytes are no TLS handshake.")
        if len(header) < 5:
            return None
        length = int.from_bytes(header[3:5])
        if not 1 <= length <= _LONGEST:
            raise NotTLS("its first TLS record has an impossible length.")
        found += data[at + 5 : at + 5 + length]
        at += 5 + length
        if found and found[0] != _HELLO:
            raise NotTLS("its first TLS message is no ClientHello.")
        end = 4 + int.from_bytes(found[1:4]) if len(found) >= 4 else MOST
        if end > MOST:
            raise NotTLS(f"its first message is longer than {MOST} bytes.")
        if len(data) < at:
            return None
        if len(found) > end:
            raise NotTLS("its first TLS record holds more than the ClientHello.")
        if len(found) == end:
            return found[4:]
    raise NotTLS(f"its first message is cut into more than {PIECES} records.")


def _name(value: bytes) -> str:
    """The one host name of a server name extension."""
    names = _Reader(_Reader(value).whole(2))
    kind, name = names.number(1), names.vector(2)
    if names.left or kind != 0 or not _NAME.fullmatch(name):
        raise NotTLS("its server name (SNI) is not one host name.")
    return name.decode("ascii").lower()


class _Reader:
    """Takes fields from the front of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, n: int) -> bytes:
        self.at += n
        if self.at > len(self.data):
            raise NotTLS("its first message ends too early.")
        return self.data[self.at - n : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """Bytes after their own length, which has `size` bytes."""
        return self.take(int.from_bytes(self.data[self.at : self.at + size]) + size)[size:]

    def whole(self, size: int) -> bytes:
        """A vector with nothing behind it."""
        found = self.vector(size)
        if self.left:
            raise NotTLS("its first message has bytes after the end of a field.")
        return found
