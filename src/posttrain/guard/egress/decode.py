r"""Every decoded form of a request's bytes, so that a secret is found under what it was wrapped in.

    data -> percent, form, JSON escapes                               as servers undo them anyway; not counted
         -> percent, escapes, base64, hex, gzip, base32               1, 2, ... `depth` times on top of each other
            and, where another decoding follows, reversed and squeezed

Encoded runs stand inside other text. A decoder finds all maximal runs of its alphabet, decodes them and gives one view
for all. Where a run begins is not known: `/v1/aGVsbG8` is one run of base64. So runs are decoded from every phase, 4
for base64, 8 for base32, 2 for hex; each wrong one gives bytes that mean nothing. A run that an earlier view had is
not decoded again.

The last reversal, change of case or removal of separators is left to the matcher (`secrets.py`), which looks for
secrets in these forms in every view. Base64 and base64url are read as one alphabet; hex takes `61:62`, `0x61,0x62`
and `\x61`. Not undone: raw deflate, which no mark begins, base58, base85, ciphers, and anything a sender made up; what
leaves that way is bounded by the novelty budget (`novelty.py`) alone.
"""

from __future__ import annotations

import re
import zlib
from binascii import a2b_base64, unhexlify
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

NO_LETTER_OR_DIGIT = bytes(byte for byte in range(256) if not chr(byte).isalnum() or byte > 127)
"""What squeezing removes."""


class View(NamedTuple):
    """One form of the data."""

    data: bytes
    how: str
    """The decodings, outermost first; empty for the data itself."""

    def then(self, how: str, data: bytes) -> View:
        """A view of this one."""
        return View(data, f"{self.how}, {how}" if self.how else how)


class Views(NamedTuple):
    """All forms, the less decoded ones first."""

    views: tuple[View, ...]
    overflow: bool
    """Whether there are more than fit."""


def views(data: bytes, depth: int, limit: int) -> Views:
    """The data and its decoded forms.

    Args:
        data: A request, without anything that the sender did not choose.
        depth: Most decodings on top of each other, not counting those of the request itself.
        limit: Most views; ordinary requests have up to 10 at depth 1, 30 at 2, 60 at 3. Their bytes are at most 48
            times those of the data, or 256 KB.
    """
    search = _Search(limit, max(1 << 18, 48 * len(data)))
    first = View(data, "")
    layer = [*search.new(first), *search.decoded(first, _TRANSPORT)]
    for left in reversed(range(depth)):
        layer = [found for view in layer for found in search.deeper(view, last=left == 0)]
    return Views(tuple(search.found), search.overflow)


class Inflated(NamedTuple):
    """What streams hold."""

    data: bytes
    whole: bool
    """Whether there was room for all."""


class _Search:
    """The views so far, with what is left to spend."""

    def __init__(self, limit: int, room: int) -> None:
        self.limit = limit
        self.room = room
        self.overflow = False
        self.found: list[View] = []
        self.known: set[bytes] = {b""}
        self.runs: dict[str, set[bytes]] = {}

    def new(self, view: View) -> list[View]:
        """The view, unless it was there before or does not fit."""
        if view.data in self.known:
            return []
        self.room -= len(view.data)
        if self.room < 0 or len(self.found) >= self.limit:
            self.overflow = True
            return []
        self.known.add(view.data)
        self.found.append(view)
        return [view]

    def deeper(self, view: View, last: bool) -> Iterator[View]:
        """Views with one decoding more."""
        yield from self.decoded(view, _INNER)
        stream = inflated(view.data, self.room)
        self.overflow |= not stream.whole
        yield from self.new(view.then("gzip", stream.data))
        if not last:
            yield from self.new(view.then("reversed", view.data[::-1]))
            yield from self.new(view.then("squeezed", view.data.translate(None, NO_LETTER_OR_DIGIT)))

    def decoded(self, view: View, decoders: Mapping[str, Runs]) -> Iterator[View]:
        """One view for each decoder that finds runs which it did not find before."""
        for how, (pattern, decode) in decoders.items():
            known = self.runs.setdefault(how, set())
            runs = [run for run in dict.fromkeys(pattern.findall(view.data)) if run not in known]
            if runs:
                known.update(runs)
                yield from self.new(view.then(how, decode(runs)))


def percent(lines: list[bytes]) -> bytes:
    """Lines with `%61` undone."""
    return unquote_to_bytes(b"\n".join(lines))


def form(lines: list[bytes]) -> bytes:
    """Lines with `%61` undone, and `+` for a space."""
    return percent([line.replace(b"+", b" ") for line in lines])


def escapes(lines: list[bytes]) -> bytes:
    r"""Lines with `\n`, `\"`, `\x61` and `\u0061` undone, as in JSON and in programs."""
    return _ESCAPE.sub(_unescaped, b"\n".join(lines))


def base64(runs: list[bytes]) -> bytes:
    """Runs of base64 or base64url, from all 4 phases; zero bytes stand between them."""
    text = b"AAAA".join(runs).translate(_ONE_BASE64, b"\r\n") + b"AAA"
    return b"\0".join(a2b_base64(text[k : k + (len(text) - k) // 4 * 4]) for k in range(4))


def base32(runs: list[bytes]) -> bytes:
    """Runs of base32 in upper or in lower case, from all 8 phases; zero bytes stand between them."""
    text = b"AAAAAAAA".join(runs)
    bits = int(text.translate(_BASE32_DIGITS), 32)
    return b"\0".join((bits << k).to_bytes((5 * len(text) + k + 7) // 8, "big") for k in range(8))


def base16(runs: list[bytes]) -> bytes:
    """Runs of hex digits, from both phases; zero bytes stand between them."""
    text = b"0000".join(runs) + b"0"
    return b"\0".join(unhexlify(text[k : k + (len(text) - k) // 2 * 2]) for k in range(2))


def spaced_base16(runs: list[bytes]) -> bytes:
    """Pairs of hex digits with marks between them."""
    return unhexlify(b"0000".join(b"".join(_MARKED.findall(b"," + run)) for run in runs))


def inflated(data: bytes, room: int) -> Inflated:
    """Streams of gzip or zlib, wherever they begin; of one that breaks off, what came before.

    Args:
        data: ASCII holds none.
        room: Most bytes to read and write.
    """
    pieces: list[bytes] = []
    for begin in _STREAM.finditer(data) if not data.isascii() else ():
        engine, at = zlib.decompressobj(wbits=47), begin.start()
        try:
            while at < len(data) and not engine.eof:
                room -= 64
                pieces.append(engine.decompress(data[at : at + 64]))
                at, room = at + 64, room - len(pieces[-1])
                if room < 0:
                    return Inflated(b"".join(pieces), whole=False)
        except zlib.error:
            continue
    return Inflated(b"".join(pieces), whole=room >= 0)


def _unescaped(match: re.Match[bytes]) -> bytes:
    """What one escape stands for."""
    kind, digits = match[0][1:2], match[0][2:]
    if not digits:
        return _SHORT.get(kind, kind)
    code = int(digits, 16)
    return bytes([code]) if kind in b"xX" else chr(code).encode("utf-8", "surrogatepass")


_ESCAPE = re.compile(rb"""\\(?:[uU][0-9A-Fa-f]{4}|[xX][0-9A-Fa-f]{2}|["'\\/bfnrt])""")
_SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_ONE_BASE64 = bytes.maketrans(b"-_", b"+/")
_BASE32_DIGITS = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz234567",
    b"0123456789abcdefghijklmnop0123456789abcdefghijklmnopqrstuv",
)
_MARKS = rb"(?:[^0-9A-Za-z]{0,3}(?:0?[xX]|[uU]00)|[^0-9A-Za-z]{1,3})"
_NO_MARK = rb"(?![1-9A-TVWYZa-tvwyz])"
"""Follows from the marks, and is found out faster."""
_MARKED = re.compile(_MARKS + rb"([0-9A-Fa-f]{2})")
_HEADS = [bytes((c, f)) for c in range(0x08, 0x88, 0x10) for f in range(256) if not (256 * c + f) % 31 and not f & 32]
_STREAM = re.compile(rb"\x1f\x8b\x08|" + b"|".join(map(re.escape, _HEADS)))

Runs: TypeAlias = "tuple[re.Pattern[bytes], Callable[[list[bytes]], bytes]]"
"""What a decoder looks for, and what it makes of all that is found."""

_TRANSPORT: dict[str, Runs] = {
    "percent": (re.compile(rb"(?m)^.*%[0-9A-Fa-f]{2}.*$"), percent),
    "form": (re.compile(rb"(?m)^(?=.*\+).*%[0-9A-Fa-f]{2}.*$"), form),
    "escapes": (re.compile(rb"(?m)^.*\\.*$"), escapes),
}
_INNER: dict[str, Runs] = {
    "percent": _TRANSPORT["percent"],
    "escapes": _TRANSPORT["escapes"],
    "base64": (re.compile(rb"[A-Za-z0-9+/_-]{7,}(?:\r?\n[A-Za-z0-9+/_-]+)*"), base64),
    "hex": (re.compile(rb"[0-9A-Fa-f]{10,}"), base16),
    "spaced hex": (
        re.compile(rb"[0-9A-Fa-f]{2}" + _NO_MARK + rb"(?:" + _MARKS + rb"[0-9A-Fa-f]{2}){4,}"), spaced_base16,
    ),
    "base32": (re.compile(rb"[A-Z2-7]{8,}|[a-z2-7]{8,}"), base32),
}  # fmt: skip
"""Runs long enough for 5 characters, the shortest stretch of a secret that counts."""
