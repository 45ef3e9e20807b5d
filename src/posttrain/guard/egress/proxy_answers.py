"""What a proxy answers: its own sentences, verdicts, and servers' headers on their way back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus

from posttrain.guard.verdict import Verdict

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"

LENGTHS = frozenset((b"content-length", b"transfer-encoding"))
NEIGHBOUR = frozenset(
    (b"connection", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"keep-alive", b"te",
     b"trailer", b"upgrade")
)  # fmt: skip
"""Headers between two neighbours, which the next connection sets anew."""


def answer(status: int, sentence: str) -> bytes:
    """A whole response in one sentence, after which the connection ends."""
    more = ('Proxy-Authenticate: Basic realm="posttrain"',) if status == 407 else ()
    return _response(status, "text/plain; charset=utf-8", f"{sentence}\n".encode(), more)


def explained(verdict: Verdict) -> dict[str, str]:
    """A denial as JSON."""
    return {
        "rule": verdict.rule,
        "because": verdict.worst.because if verdict.worst else "",
        "verdict": str(verdict),
    }


def denial(verdict: Verdict) -> bytes:
    """403, with the verdict."""
    return _response(403, "application/json", json.dumps(explained(verdict)).encode() + b"\n")


def _response(status: int, kind: str, body: bytes, more: Iterable[str] = ()) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *more,
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A server's headers without those that were for this proxy; lengths are left for h11 to frame anew."""
    given = list(headers)
    named = b",".join(value for name, value in given if name.lower() == b"connection")
    dropped = NEIGHBOUR.union(each.strip().lower() for each in named.split(b","))
    return [(name, value) for name, value in given if name.lower() not in dropped or name.lower() in LENGTHS]
