"""Bits that requests can tell one host in one session, whatever code sender and receiver agreed on.

The content of a request is taken to be written down by a code that knows what the host was sent before and what stands
in the conversation. Its length in bits is the request's cost. Steps are the parts of a request, with their places, and
its end; the body is cut into words.

    cost(request) = log2(1 + k)                                  if it was sent before, whole
                  = log2(1 + k) + sum over steps of cost(step)   otherwise

    cost(step) = log2((N + 1) / N_step)                          if it followed the step before it, or its name, already
               = log2(N + 1) + log2(1 + s + n)                   if it was sent before, elsewhere
               = log2(N + 1) + log2(1 + s + n) + 3               if its text stands in the conversation: a link followed
               = log2(N + 1) + log2(1 + s + n) + 3 + u           if it is what HTTP libraries usually send (`USUAL`)
               = log2(N + 1) + log2(1 + s + n) + 3
                 + 8 b + 2 log2(1 + b) + 1                       if it is new

k: different requests sent; s: different steps sent; n: different segments of the conversation; N, N_step: how often the
step before was followed by any, and by this one; b: bytes of the step's text; u: bits that name one of the usual texts;
3: the kind of its place, one of 7, or that it is usual.

The code is decodable: over all requests that could come next, sum 2^-cost <= 1 (Kraft). So at most 2^B different
sequences of a given number of requests cost B bits or less, and who may spend B bits on a host can tell it no more than
B, by shards, single characters or any encoding. Not counted: the method, the number of requests, their order among
hosts, and their timing.

A client that repeats itself pays log2(1 + k) a request, one that changes a value pays for the value and about
log2(N + 1) + log2(1 + s + n) to say where. The first request pays for all that the client always sends, its headers
included.

Steps are kept as keyed hashes. At most `MOST` pairs of them are, and requests; what no longer fits stays new for ever.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from hashlib import blake2b
from math import log2
from typing import NamedTuple

from posttrain.guard.egress.parts import Part, words

MOST = 4096
"""Pairs of steps that are remembered for a host, and requests."""
WORDS = 128
"""Of a body; the rest is one step."""
_KEYED = blake2b(digest_size=16, key=os.urandom(32))
"""Its hashes tell nothing to who lacks this process's key."""


class _Step(NamedTuple):
    """One step of the code."""

    before: bytes
    """Hash of the step that it follows; of its place, if it is a value."""
    itself: bytes
    """Hash of place and text."""
    text: str
    usual: float | None = None
    """Bits that name its text among the usual ones; None if it is none of them."""


class Novelty:
    """What one host was sent in one session."""

    def __init__(self) -> None:
        self._requests: set[bytes] = set()
        self._steps: set[bytes] = set()
        self._followers: dict[bytes, dict[bytes, int]] = {}
        self._often: dict[bytes, int] = {}
        self._pairs = 0

    def cost(self, parts: Sequence[Part], segments: AbstractSet[str] = frozenset()) -> float:
        """Bits that a request can tell.

        Args:
            parts: Of the request.
            segments: Of the conversation's texts, see `parts.segments`; the sender can name these cheaply.
        """
        steps, whole = _code(tuple(parts))
        bits = log2(1 + len(self._requests))
        if whole in self._requests:
            return bits
        place = log2(1 + len(self._steps) + len(segments))
        return bits + sum(self._step(step, segments, place) for step in steps)

    def add(self, parts: Sequence[Part]) -> None:
        """Remember a request that was sent, if there is room for it."""
        steps, whole = _code(tuple(parts))
        full = len(self._requests) >= MOST or self._pairs + len(steps) > MOST
        if full or whole in self._requests:
            return
        self._requests.add(whole)
        for step in steps:
            followers = self._followers.setdefault(step.before, {})
            seen = followers.get(step.itself, 0)
            self._pairs += not seen
            followers[step.itself] = seen + 1
            self._often[step.before] = self._often.get(step.before, 0) + 1
            self._steps.add(step.itself)

    def _step(self, step: _Step, segments: AbstractSet[str], place: float) -> float:
        often = 1 + self._often.get(step.before, 0)
        if (followers := self._followers.get(step.before)) and (seen := followers.get(step.itself)):
            return log2(often / seen)
        bits = log2(often) + place
        if step.itself in self._steps:
            return bits
        if step.text in segments:
            return bits + 3
        if step.usual is not None:
            return bits + 3 + step.usual
        text = step.text
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return bits + 3 + 8 * size + 2 * log2(1 + size) + 1


@lru_cache(maxsize=1)
def _code(parts: tuple[Part, ...]) -> tuple[tuple[_Step, ...], bytes]:
    """The steps of a request, and its hash; kept, as what is judged is mostly added next."""
    steps = tuple(_steps(parts))
    return steps, _hash("".join(step.itself.hex() for step in steps))


def _steps(parts: Sequence[Part]) -> Iterator[_Step]:
    """A value follows its name; a name, label, segment or word follows the last one of these."""
    before = b""
    for part, after in zip(parts, (*parts[1:], Part("", "")), strict=True):
        if " " in part.where:
            yield _Step(_hash(part.where), _hash(part.where, part.text), part.text, _usual(part))
            continue
        place = part.where + "=" if after.where.startswith(f"{part.where} ") else part.where
        usual = _usual(part)
        for text in words(part.text, WORDS) if part.where == "body" else (part.text,):
            itself = _hash(place, text)
            yield _Step(before, itself, text, usual)
            before = itself
    yield _Step(before, _hash("end", ""), "")


def _usual(part: Part) -> float | None:
    """Bits that name a usual header, or a usual value of one; None for anything else."""
    kind, _, name = part.where.partition(" ")
    if kind != "header":
        return None
    if not name:
        return _NAME_BITS if part.text in _NAMES else None
    pattern, bits = USUAL.get(name, (None, 0.0))
    return bits if pattern is not None and pattern.fullmatch(part.text) else None


USUAL: dict[str, tuple[re.Pattern[str], float]] = {
    "accept": (re.compile(r"\*/\*|application/json(?:, \*/\*)?|text/html|text/plain"), 3.0),
    "accept-encoding": (re.compile(r"identity|gzip|(?:gzip, deflate)(?:, br)?(?:, zstd)?"), 3.0),
    "accept-language": (re.compile(r"\*|en|en-US|en-US,en;q=0\.[59]"), 3.0),
    "content-type": (
        re.compile(r"(?:application/(?:json|x-www-form-urlencoded)|text/plain)(?:; ?charset=(?:utf|UTF)-8)?"), 4.0,
    ),
    "user-agent": (
        re.compile(
            r"(?:python-httpx2?|python-requests|python-urllib3|Python-urllib|aiohttp|curl|Wget|OpenAI/Python|node)"
            r"[/ ]\d{1,3}\.\d{1,2}(?:\.\d{1,2})?"
        ), 29.0,
    ),
}  # fmt: skip
"""Headers to the values that HTTP libraries send by themselves, and the bits that name one of these."""
_NAMES = frozenset(written for name in USUAL for written in (name, name.title(), name.capitalize()))
"""Their names, as libraries write them. Other ways to write them could tell something."""
_NAME_BITS = 6.0


def _hash(place: str, text: str = "") -> bytes:
    keyed = _KEYED.copy()
    keyed.update(f"{place}\0{text}".encode("utf-8", "surrogatepass"))
    return keyed.digest()
