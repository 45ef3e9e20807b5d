"""What senders wrap a text in, and where they put it; the inverse of `decode.py`, by other means."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from urllib.parse import quote

from posttrain.guard.egress.hosts import target
from posttrain.guard.egress.parts import content

Encoder = Callable[[bytes], bytes]


def _every(form: str, between: str = "") -> Encoder:
    """Each byte by a format."""
    return lambda data: between.join(form.format(byte) for byte in data).encode()


def _apart(data: bytes, mark: bytes = b"-", each: int = 1) -> bytes:
    return mark.join(data[at : at + each] for at in range(0, len(data), each))


ENCODERS: dict[str, Encoder] = {
    "plain": lambda data: data,
    "percent": _every("%{:02X}"),
    "base64": base64.b64encode,
    "base64url": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "base64 lines": lambda data: base64.encodebytes(data * 3),
    "base32": base64.b32encode,
    "base32 lower": lambda data: base64.b32encode(data).lower().rstrip(b"="),
    "hex": lambda data: data.hex().encode(),
    "hex upper": lambda data: data.hex().upper().encode(),
    "hex 0x": lambda data: b"0x" + data.hex().encode(),
    "hex 0x list": _every("0x{:02x}", ", "),
    "hex backslash": _every("\\x{:02x}"),
    "hex colon": _every("{:02x}", ":"),
    "hex space": _every("{:02X}", " "),
    "json": _every("\\u{:04x}"),
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "reversed": lambda data: data[::-1],
    "upper": bytes.upper,
    "lower": bytes.lower,
    "dashes": _apart,
    "dots": lambda data: _apart(data, b".", 4),
}
BINARY = {"gzip", "deflate"}
CASED = {"base64", "base64url", "base64 lines", *BINARY}


def undoable(outer: str, inner: str) -> bool:
    """Whether the outer one leaves what the inner one made readable: bytes are no text, and base64 has its case."""
    if outer in ("upper", "lower"):
        return inner not in CASED
    return not (outer in ("json", "dashes", "dots") and inner in BINARY)


def in_path(data: bytes) -> bytes:
    return content(target(f"https://example.com/v1/{quote(data, safe='')}/end"), (), b"")


def in_query(data: bytes) -> bytes:
    return content(target(f"https://example.com/?first=1&key={quote(data, safe='+/=')}&last=2"), (), b"")


def in_header(data: bytes) -> bytes:
    text = data.decode("ascii") if data.isascii() and b"\n" not in data else quote(data)
    return content(target("https://example.com/"), [("Accept", "*/*"), ("X-Note", text)], b"")


def in_body(data: bytes) -> bytes:
    body = json.dumps({"id": 7, "note": data.decode()}).encode() if data.isascii() else b"id=7\n" + data
    return content(target("https://example.com/"), (), body)


PLACES: dict[str, Encoder] = {"path": in_path, "query": in_query, "header": in_header, "body": in_body}
